//! A certificate authority that lives for one start, and the certificate that it signs for this machine's loopback.

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// What a TLS listener needs, all PEM.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate, for clients. Its key is gone: nothing more can be signed.
    pub authority: String,
    /// The server's certificate, for 127.0.0.1 and localhost.
    pub server: String,
    /// The server's private key, PKCS #8.
    pub server_key: String,
}

/// Makes both.
///
/// # Errors
/// The system gives no random numbers.
pub fn make() -> anyhow::Result<Certificates> {
    made().context("the certificate of the TLS listener can't be made")
}

fn made() -> Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Assay, for one start of a target");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::from_params(&params, &key);

    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate()?;
    let server = params.signed_by(&server_key, &issuer)?;
    Ok(Certificates {
        authority: authority.pem(),
        server: server.pem(),
        server_key: server_key.serialize_pem(),
    })
}
