//! The definitions and the native clients against the bundled broker, every fetch path.

use broker_under_test::{Config, Server};
use workloads::definition::{self, Definition};
use workloads::native::fetch::{FetchClient, FetchSpec};
use workloads::native::preload::{PreloadSpec, preload};
use workloads::native::verify::verify;
use workloads::native::{Bootstrap, Phase, Receiver, Security};

/// A broker with the definition's settings and one path.
fn config(definition: &Definition, path: &str, data_dir: &str) -> Config {
    let mut config = Config::default();
    let settings = definition
        .settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let ours = [
        ("fetch.path", path),
        ("log.dirs", data_dir),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ];
    for (key, value) in settings.chain(ours) {
        config
            .set(key, value, &definition.name)
            .expect("the broker knows every setting of the definition");
    }
    config.complete().expect("a data folder is set")
}

#[test]
fn every_path_delivers_what_was_preloaded() {
    let definitions = definition::embedded().unwrap();
    let definition = definitions
        .iter()
        .find(|definition| definition.name == "zero-copy")
        .unwrap();
    let fetch = definition.fetch().unwrap();
    let mut checksums = Vec::new();
    for path in &definition.factor("fetch.path").unwrap().levels {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let broker = Server::start(config(definition, path, data_dir.to_str().unwrap()), None).unwrap();
        let file_bytes = 4 << 20;
        let spec = PreloadSpec {
            topic: "zero-copy".to_owned(),
            partitions: 1,
            replicas: 1,
            configs: Default::default(),
            stored_batch_bytes: fetch.stored_batch_bytes as usize,
            file_bytes,
            payload: definition.payload.into(),
            seed: 4,
            base_timestamp_ms: 1_700_000_000_000,
        };
        let brokers = Bootstrap::from(broker.address);
        let plain = Security::default();
        let index = preload(&brokers, &plain, &spec).unwrap();
        let checks = verify(&brokers, &plain, &index.ledger, 1 << 20).unwrap();
        assert!(checks.iter().all(|check| check.ok), "{path}: {checks:?}");
        checksums.push(index.ledger.partitions[0].checksum);

        for receiver in [Receiver::Copy, Receiver::Discard] {
            for response_bytes in [4_096, 65_536, 1 << 20, 3_000_000] {
                let spec = FetchSpec {
                    response_bytes,
                    in_flight: fetch.in_flight as usize,
                    max_wait_ms: fetch.max_wait_ms,
                    receiver,
                    receive_buffer_bytes: fetch.receive_buffer_bytes as usize,
                    socket_receive_buffer_bytes: None,
                };
                let mut client = FetchClient::connect(&brokers, &plain, index.clone(), spec).unwrap();
                let pass = client
                    .run(Phase {
                        duration_ms: 60_000,
                        single_pass: true,
                    })
                    .unwrap();
                assert_eq!(
                    (pass.delivered_bytes, pass.data_ended),
                    (file_bytes, true),
                    "{path} {response_bytes}"
                );
            }
        }
        broker.stop().unwrap();
        let segment = data_dir.join("zero-copy-0/00000000000000000000.log");
        assert!(
            std::fs::metadata(segment).unwrap().len() >= file_bytes,
            "the file that the bare limit sends"
        );
    }
    checksums.dedup();
    assert_eq!(
        checksums.len(),
        1,
        "the same seed stores the same records whichever the path"
    );
}
