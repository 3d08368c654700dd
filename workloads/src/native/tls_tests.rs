//! TLS between the clients and the brokers of [`super::tests`], and peers that want or speak something else.

use super::connection::ConnectOptions;
use super::fetch::FetchClient;
use super::preload::preload;
use super::produce::ProduceClient;
use super::tests::{Fault, ONE_PASS, Peer, failed, fetch_spec, preload_spec, produce_spec};
use super::verify::verify;
use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// An authority, and files for what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Leaves `NAME.pem` and `NAME.key` for a host.
    fn sign(&self, name: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self, host: &str, wants_client: bool) -> Arc<rustls::ServerConfig> {
        self.sign("server", host);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = super::tls::certificates(&self.path("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match wants_client {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(super::tls::certificates(&self.path("ca.pem")).unwrap());
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    fn client(&self) -> Security {
        let tls = Tls {
            ca_file: Some(self.path("ca.pem")),
            ..Tls::default()
        };
        Security {
            tls: Some(tls),
            sasl: None,
        }
    }
}

/// A cluster whose brokers have a certificate for `host`.
fn peer(authority: &Authority, host: &str, wants_client: bool, brokers: usize) -> Peer {
    let plain = Peer::start(Fault::None);
    let config = authority.server(host, wants_client);
    plain.with_tls(config).listen(&[Fault::None; 3][..brokers])
}

fn error_of(peer: &Peer, security: &Security) -> String {
    Admin::connect(peer.address, security).unwrap_err().to_string()
}

#[test]
fn every_client_works_over_tls() {
    let authority = Authority::new();
    let security = authority.client();
    for brokers in [1, 2] {
        let peer = peer(&authority, "127.0.0.1", false, brokers);
        let mut spec = preload_spec();
        (spec.partitions, spec.file_bytes) = (4, 4 * 40 * 1_024);
        let index = preload(&peer.brokers(), &security, &spec).unwrap();
        for receiver in [Receiver::Copy, Receiver::Discard] {
            for response_bytes in [1_024, 30_000] {
                let spec = fetch_spec(receiver, response_bytes, 3);
                let mut client = FetchClient::connect(&peer.brokers(), &security, index.clone(), spec).unwrap();
                let result = client.run(ONE_PASS).unwrap();
                assert_eq!((result.delivered_bytes, result.data_ended), (index.total_bytes(), true));
            }
        }
        let checks = verify(&peer.brokers(), &security, &index.ledger, 5_000).unwrap();
        assert_eq!(failed(&checks), [""; 0], "{checks:?}");
    }
    for (brokers, batch_bytes) in [(1, 2_000), (1, 1 << 20), (3, 2_000), (3, 1 << 20)] {
        let peer = peer(&authority, "127.0.0.1", false, brokers);
        let mut admin = Admin::connect(peer.address, &security).unwrap();
        admin.create_topic(&NewTopic::new("orders", 3)).unwrap();
        let mut spec = produce_spec(3);
        (spec.batch_bytes, spec.socket_send_buffer_bytes) = (batch_bytes, Some(200_000));
        let mut client = ProduceClient::connect(&peer.brokers(), &security, spec).unwrap();
        assert_eq!(client.run(ONE_PASS).unwrap().responses, 16);
        let timed = Phase {
            duration_ms: 5,
            single_pass: false,
        };
        assert!(client.run(timed).unwrap().responses > 0);
        let checks = verify(&peer.brokers(), &security, client.ledger(), 4 << 20).unwrap();
        assert_eq!(failed(&checks), [""; 0], "{checks:?}");
    }
}

#[test]
fn a_certificate_that_does_not_hold_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let right = peer(&authority, "127.0.0.1", false, 1);
    let error = error_of(&right, &other.client());
    assert!(
        error.contains("is not signed by an authority of") && error.contains("ca.pem"),
        "{error}"
    );

    let elsewhere = peer(&authority, "broker.example", false, 1);
    let error = error_of(&elsewhere, &authority.client());
    assert!(error.contains("its certificate does not name `127.0.0.1`"), "{error}");
    let any_host = |authority: &Authority| {
        let mut security = authority.client();
        security.tls.as_mut().unwrap().verify_host = false;
        security
    };
    Admin::connect(elsewhere.address, &any_host(&authority)).unwrap();
    // The name is all that is let off.
    let error = error_of(&elsewhere, &any_host(&other));
    assert!(error.contains("is not signed by an authority of"), "{error}");
}

#[test]
fn a_listener_that_wants_a_certificate_gets_it_or_refuses() {
    let authority = Authority::new();
    let peer = peer(&authority, "127.0.0.1", true, 1);
    let error = error_of(&peer, &authority.client());
    assert!(error.contains("CertificateRequired"), "{error}");
    authority.sign("client", "client");
    let mut security = authority.client();
    let tls = security.tls.as_mut().unwrap();
    tls.certificate_file = Some(authority.path("client.pem"));
    assert!(error_of(&peer, &security).contains("both its certificate file and its key file"));
    security.tls.as_mut().unwrap().key_file = Some(authority.path("client.key"));
    Admin::connect(peer.address, &security).unwrap();
}

#[test]
fn files_that_are_no_certificates_are_told() {
    let authority = Authority::new();
    let peer = peer(&authority, "127.0.0.1", false, 1);
    let with = |name: &str, content: Option<&str>| {
        let path = authority.path(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut security = authority.client();
        security.tls.as_mut().unwrap().ca_file = Some(path);
        error_of(&peer, &security)
    };
    for (name, content) in [("none.pem", None), ("text.pem", Some("hello")), ("empty.pem", Some(""))] {
        let error = with(name, content);
        assert!(error.contains(name) && error.contains("must be a PEM file"), "{error}");
    }
}

/// A peer that does `what` with its one connection.
fn one_connection(what: impl FnOnce(std::net::TcpStream) + Send + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || what(listener.accept().unwrap().0));
    address.into()
}

#[test]
fn a_peer_without_tls_is_told_and_not_waited_for() {
    let authority = Authority::new();
    let security = authority.client();
    let options = ConnectOptions {
        connect_timeout: Duration::from_millis(300),
        ..ConnectOptions::default()
    };
    let (end, hold) = std::sync::mpsc::channel::<()>();
    let peers = [
        (
            one_connection(drop),
            "closed the connection; is it a listener with TLS?",
        ),
        (
            one_connection(|mut socket| {
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                let _ = socket.read_to_end(&mut Vec::new());
            }),
            "is it a listener with TLS?",
        ),
        (
            one_connection(move |socket| {
                let _ = hold.recv();
                drop(socket);
            }),
            "no answer to the first message within the time limit; is it a listener with TLS?",
        ),
    ];
    for (endpoint, expected) in peers {
        let error = Connection::open(&endpoint, &security, &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains(&endpoint.to_string()),
            "{error}"
        );
    }
    drop(end);
    // And the other way round.
    let secured = peer(&authority, "127.0.0.1", false, 1);
    let error = error_of(&secured, &Security::default());
    assert!(
        error.contains("does not answer Kafka's protocol over PLAINTEXT"),
        "{error}"
    );
}
