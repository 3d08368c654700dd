//! TLS 1.2 and 1.3 by rustls: the handshake, and a session between a socket and a client.

use super::ClientError;
use super::connection::ConnectOptions;
use super::endpoint::Endpoint;
use super::security::Tls;
use super::stream::{Calls, Raw, Stream, Wait, no_room_is_nothing};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Received bytes that wait for their decryption: rustls itself receives in pieces of 4 KiB.
const INPUT_BYTES: usize = 256 * 1024;
/// Encrypted bytes that wait for room in the socket.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Where systems keep the authorities that they trust, unless SSL_CERT_FILE says so.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes the handshake on a socket that is connected to `endpoint`.
///
/// # Errors
/// A file that can't be used, a certificate that does not hold, or a peer that does not speak TLS.
pub(super) fn secure(
    socket: TcpStream,
    endpoint: &Endpoint,
    tls: &Tls,
    options: &ConnectOptions,
) -> Result<Stream, ClientError> {
    let failed = |message: String| ClientError::Tls {
        endpoint: endpoint.clone(),
        message,
    };
    let config = config(tls)?;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| {
        failed(format!(
            "`{}` is a host name that no certificate can hold",
            endpoint.host
        ))
    })?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
    session.set_buffer_limit(Some(OUTPUT_BYTES_MAX));
    let mut calls = Calls::default();
    let limits = |limit| -> io::Result<()> {
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))
    };
    let mut handshake = || -> io::Result<()> {
        limits(options.connect_timeout)?;
        let mut raw = Raw::new(&socket, Wait::Yes, &mut calls);
        while session.is_handshaking() {
            session.complete_io(&mut raw)?;
        }
        limits(options.io_timeout)
    };
    handshake().map_err(|error| failed(explain(&error, endpoint, tls)))?;
    let session = Session {
        tls: session,
        input: vec![0; INPUT_BYTES].into_boxed_slice(),
        start: 0,
        end: 0,
        failure: None,
    };
    Ok(Stream::secured(socket, session, calls))
}

/// What a failed handshake means, and what to do.
fn explain(error: &io::Error, endpoint: &Endpoint, tls: &Tls) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let trusted = match &tls.ca_file {
        Some(path) => path.display().to_string(),
        None => "the system's list".to_owned(),
    };
    match inner {
        // Two authorities of the same name differ by their keys only.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            format!(
                "its certificate is not signed by an authority of {trusted}; give the file of the right one as ssl.truststore.location"
            )
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => format!(
            "its certificate does not name `{}`; connect by a name that it holds, or set ssl.endpoint.identification.algorithm to nothing",
            endpoint.host
        ),
        Some(rustls::Error::InvalidMessage(_)) => format!("{error}; is it a listener with TLS?"),
        Some(other) => other.to_string(),
        None => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "no answer to the first message within the time limit; is it a listener with TLS?".to_owned()
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "it closed the connection; is it a listener with TLS?".to_owned()
            }
            _ => error.to_string(),
        },
    }
}

fn config(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let internal = |error: &dyn std::fmt::Display| ClientError::Spec(format!("TLS can't be set up: {error}"));
    let roots = Arc::new(authorities(tls)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| internal(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = match tls.verify_host {
        true => verifier,
        false => Arc::new(AnyHost(verifier)),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| internal(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&tls.certificate_file, &tls.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, "an unencrypted key", &error))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| unusable(key, "the key of the certificate", &error))
        }
        _ => Err(ClientError::Spec(
            "a client certificate needs both its certificate file and its key file".to_owned(),
        )),
    }
}

fn authorities(tls: &Tls) -> Result<RootCertStore, ClientError> {
    let path = match &tls.ca_file {
        Some(path) => path.clone(),
        None => std::env::var_os("SSL_CERT_FILE")
            .map(PathBuf::from)
            .into_iter()
            .chain(SYSTEM_AUTHORITIES.map(PathBuf::from))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                ClientError::Spec(
                    "this system has no list of authorities; give one as ssl.truststore.location".to_owned(),
                )
            })?,
    };
    let mut roots = RootCertStore::empty();
    let found = certificates(&path)?;
    // One of a hundred that rustls does not understand is no reason to give up; none of them is.
    let (added, _) = roots.add_parsable_certificates(found);
    match added {
        0 => Err(unusable(&path, "an authority", &"none of its certificates can be read")),
        _ => Ok(roots),
    }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let wrong = |error: &dyn std::fmt::Display| unusable(path, "certificates", error);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&error))?;
    match found.is_empty() {
        true => Err(wrong(&"there is none in it")),
        false => Ok(found),
    }
}

fn unusable(path: &Path, what: &str, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Spec(format!(
        "{}: {error}; it must be a PEM file with {what}",
        path.display()
    ))
}

/// Holds a certificate against the authorities and not against the host's name.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last, when all else holds.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A session after its handshake.
#[derive(Debug)]
pub(crate) struct Session {
    tls: ClientConnection,
    /// Received bytes `input[start..end]` have not been decrypted.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// Why nothing can be decrypted any more.
    failure: Option<rustls::Error>,
}

impl Session {
    /// Reads decrypted bytes; 0 is the end of the stream.
    pub fn read(&mut self, raw: &mut Raw, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(raw)?;
        self.tls.reader().read(buffer)
    }

    /// Drops 1 to `bytes_max` decrypted bytes; 0 is the end of the stream.
    pub fn skip(&mut self, raw: &mut Raw, bytes_max: usize) -> io::Result<usize> {
        self.wait(raw)?;
        let mut reader = self.tls.reader();
        let bytes = reader.fill_buf()?.len().min(bytes_max);
        reader.consume(bytes);
        Ok(bytes)
    }

    /// Whether a read has bytes to give, or an error, without receiving.
    pub fn has_input(&mut self) -> bool {
        loop {
            match self.tls.reader().fill_buf() {
                Ok(bytes) if !bytes.is_empty() => return true,
                _ if self.failure.is_some() => return true,
                _ if self.start == self.end => return false,
                _ => self.decrypt(),
            }
        }
    }

    /// Receives until there is something to read: bytes, the end or an error.
    fn wait(&mut self, raw: &mut Raw) -> io::Result<()> {
        loop {
            match self.tls.reader().fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                found => return found.map(drop),
            }
            if let Some(failure) = self.failure.clone() {
                // The peer is told why; that it can't be is no news.
                let _ = self.flush_some(raw);
                return Err(io::Error::new(io::ErrorKind::InvalidData, failure));
            }
            if self.start == self.end {
                (self.start, self.end) = (0, raw.read(&mut self.input)?);
                if self.end == 0 {
                    // The session is told, and then tells whether the end was an orderly one.
                    self.tls.read_tls(&mut io::empty())?;
                }
            }
            self.decrypt();
        }
    }

    /// Decrypts some of what was received.
    fn decrypt(&mut self) {
        let mut input = &self.input[self.start..self.end];
        match self.tls.read_tls(&mut input) {
            // Nothing is taken behind the end of a session.
            Ok(0) => self.start = self.end,
            Ok(taken) => self.start += taken,
            Err(error) => self.failure = Some(rustls::Error::General(error.to_string())),
        }
        if self.failure.is_none() {
            self.failure = self.tls.process_new_packets().err();
        }
    }

    /// Encrypts and sends all of it.
    pub fn write_all(&mut self, raw: &mut Raw, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(raw)?;
            }
            if left.is_empty() {
                return Ok(());
            }
            let taken = self.tls.writer().write(left)?;
            left = &left[taken..];
        }
    }

    /// Encrypts what there is room for, and sends what the socket has room for: bytes taken, 0 when there is no room.
    pub fn write_parts(&mut self, raw: &mut Raw, parts: &[IoSlice]) -> io::Result<usize> {
        self.flush_some(raw)?;
        let taken = self.tls.writer().write_vectored(parts)?;
        self.flush_some(raw)?;
        Ok(taken)
    }

    /// Sends what the socket has room for; false while encrypted bytes are left.
    pub fn flush_some(&mut self, raw: &mut Raw) -> io::Result<bool> {
        while self.tls.wants_write() {
            if no_room_is_nothing(self.tls.write_tls(raw))? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
