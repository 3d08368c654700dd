//! SCRAM (RFC 5802) without channel binding: the client's messages, and the proof that the server knows the password too.
//!
//! Names and passwords are taken as their UTF-8 bytes, as Kafka does, and not prepared by RFC 4013.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// Fewer rounds make a stolen exchange too easy to break (RFC 7677, section 4).
const ITERATIONS_MIN: u32 = 4_096;
/// More take longer than a connection may.
const ITERATIONS_MAX: u32 = 1_000_000;
const NONCE_BYTES: usize = 18;
/// `n,,` in base64: no channel binding.
const BINDING: &str = "biws";

/// SHA-256 or SHA-512, in the forms that the steps need.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

impl Hash {
    pub fn sha256() -> Self {
        Self {
            hmac: hmac::HMAC_SHA256,
            digest: &digest::SHA256,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }

    pub fn sha512() -> Self {
        Self {
            hmac: hmac::HMAC_SHA512,
            digest: &digest::SHA512,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// One exchange, from the client's first message to the server's last.
pub(super) struct Exchange<'a> {
    hash: Hash,
    password: &'a str,
    nonce: String,
    /// The first message without its header.
    first: String,
}

/// The client's last message, and what the server must answer to it.
pub(super) struct Proof {
    pub message: String,
    server_signature: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// With a nonce of its own.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new(hash: Hash, username: &str, password: &'a str) -> Result<Self, String> {
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok(Self::with_nonce(hash, username, password, STANDARD.encode(nonce)))
    }

    fn with_nonce(hash: Hash, username: &str, password: &'a str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={username},r={nonce}");
        Self {
            hash,
            password,
            nonce,
            first,
        }
    }

    /// The client's first message.
    pub fn first_message(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// Answers the server's first message.
    ///
    /// # Errors
    /// A message that no honest server sends; the words say which part of it is wrong.
    pub fn prove(&self, server_first: &str) -> Result<Proof, String> {
        let mut fields = server_first.split(',');
        let mut field = |name: &str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name));
            value.ok_or_else(|| format!("the server's first message has no `{name}` where it is due"))
        };
        let nonce = field("r=")?;
        let salt = STANDARD
            .decode(field("s=")?)
            .map_err(|_| "the server's salt is no base64".to_owned())?;
        let iterations: u32 = field("i=")?
            .parse()
            .map_err(|_| "the server's number of iterations is no number".to_owned())?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("the server's nonce does not go on from the client's".to_owned());
        }
        let rounds = NonZeroU32::new(iterations).filter(|_| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations));
        let rounds = rounds.ok_or_else(|| {
            format!("the server asks for {iterations} iterations, not {ITERATIONS_MIN} to {ITERATIONS_MAX}")
        })?;

        let without_proof = format!("c={BINDING},r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first);
        let mut salted = vec![0; self.hash.digest.output_len()];
        pbkdf2::derive(self.hash.pbkdf2, rounds, &salt, self.password.as_bytes(), &mut salted);
        let client_key = self.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest, client_key.as_ref());
        let client_signature = self.sign(stored_key.as_ref(), signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(client_signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        let server_key = self.sign(&salted, b"Server Key");
        Ok(Proof {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            server_signature: self.sign(server_key.as_ref(), signed.as_bytes()).as_ref().to_vec(),
        })
    }

    fn sign(&self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hash.hmac, key), message)
    }
}

impl Proof {
    /// Whether the server's last message shows that it knows the password.
    ///
    /// # Errors
    /// It does not, or it says what is wrong.
    pub fn check(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = server_final.strip_prefix("e=") {
            return Err(format!("the server says `{error}`"));
        }
        let signature = server_final
            .split(',')
            .next()
            .and_then(|field| field.strip_prefix("v="));
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        match signature {
            Some(signature) if signature == self.server_signature => Ok(()),
            _ => Err("the server does not prove that it knows the password; it may not be the broker".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn rfc_7677() -> Exchange<'static> {
        Exchange::with_nonce(Hash::sha256(), "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    const RFC_7677_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_exchange_of_rfc_7677() {
        let exchange = rfc_7677();
        assert_eq!(exchange.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = exchange.prove(RFC_7677_FIRST).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proof.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(proof.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(proof.check("").is_err());
        assert!(proof.check("e=invalid-proof").unwrap_err().contains("invalid-proof"));
    }

    /// The exchange of RFC 5802, section 5, whose hash is SHA-1: the same steps with another hash.
    #[test]
    fn the_exchange_of_rfc_5802() {
        let hash = Hash {
            hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA1,
        };
        let exchange = Exchange::with_nonce(hash, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL".to_owned());
        let proof = exchange
            .prove("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
            .unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        proof.check("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap();
    }

    #[test]
    fn a_server_that_is_not_honest_is_told() {
        let rows = [
            ("", "has no `r=`"),
            ("r=other,s=W22Z,i=4096", "nonce does not go on"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "nonce does not go on"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", "no base64"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=x", "is no number"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1", "asks for 1 iterations"),
            (
                "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4294967295",
                "asks for 4294967295 iterations",
            ),
        ];
        for (message, expected) in rows {
            let error = rfc_7677().prove(message).err().unwrap();
            assert!(error.contains(expected), "{message}: {error}");
        }
    }

    #[test]
    fn a_name_with_signs_of_the_grammar_is_escaped() {
        let exchange = Exchange::with_nonce(Hash::sha512(), "a=b,c", "p", "n".to_owned());
        assert_eq!(exchange.first_message(), "n,,n=a=3Db=2Cc,r=n");
        let two = [0, 1].map(|_| Exchange::new(Hash::sha256(), "u", "p").unwrap().nonce);
        assert_ne!(two[0], two[1]);
        assert!(!two[0].contains(','));
    }
}
