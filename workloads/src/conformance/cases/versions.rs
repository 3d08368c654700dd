//! ApiVersions: what is advertised, and what is answered to a version that does not exist.

use kafka_wire::api::VERSIONS;
use kafka_wire::{ApiKey, Cursor};

use super::super::request;
use super::super::shape::error_name;
use super::super::{Bench, Case, CaseError};

const API: &str = "ApiVersions";

/// Error, and key, lowest and highest version of each row, in ApiVersions version 0.
type Table = (i16, Vec<(i16, i16, i16)>);

fn table(bench: &mut Bench) -> Result<Table, CaseError> {
    let mut wire = bench.connect()?;
    wire.send(&request::frame(ApiKey::ApiVersions.code(), 0, false, 1, &[]))?;
    let frame = wire
        .receive()?
        .ok_or_else(|| CaseError::Setup("ApiVersions version 0: the connection was closed".to_owned()))?;
    let mut c = Cursor::new(&frame);
    c.i32()?;
    let error = c.i16()?;
    let mut rows = Vec::new();
    for _ in 0..c.array_len(false, 6)?.unwrap_or(0) {
        rows.push((c.i16()?, c.i16()?, c.i16()?));
    }
    c.finish()?;
    rows.sort_unstable();
    Ok((error, rows))
}

pub(super) fn add(all: &mut Vec<Case>) {
    for row in VERSIONS {
        let key = row.key;
        all.push(Case::new(API, format!("the versions of {key:?}"), move |bench| {
            let (_, rows) = table(bench)?;
            let found = rows.iter().find(|(k, ..)| *k == key.code());
            Ok(found.map_or("not there".to_owned(), |(_, min, max)| format!("{min} to {max}")))
        }));
    }
    all.push(Case::new(API, "the keys of all APIs", |bench| {
        let (error, rows) = table(bench)?;
        let keys: Vec<String> = rows.iter().map(|(key, ..)| key.to_string()).collect();
        let rise = if rows.windows(2).all(|two| two[0].0 < two[1].0) {
            ""
        } else {
            ", some twice"
        };
        Ok(format!("{}: {}{rise}", error_name(error), keys.join(" ")))
    }));
    for version in [99i16, -1] {
        // The answer is of version 0, whatever was asked for (KIP-511), and the connection lives on.
        all.push(Case::new(
            API,
            format!("version {version}, which does not exist"),
            move |bench| {
                let mut wire = bench.connect()?;
                // Read as the latest version, whose header ends with tagged fields.
                let body = request::api_versions("assay");
                wire.send(&request::frame(ApiKey::ApiVersions.code(), version, true, 7, &body))?;
                let Some(frame) = wire.receive()? else {
                    return Ok("connection closed".to_owned());
                };
                let mut c = Cursor::new(&frame);
                let (id, error) = (c.i32()?, c.i16()?);
                let rows = c.array_len(false, 6)?.unwrap_or(0);
                let own = (0..rows).try_fold(None, |found, _| -> Result<_, CaseError> {
                    let row = (c.i16()?, c.i16()?, c.i16()?);
                    Ok(if row.0 == ApiKey::ApiVersions.code() {
                        Some((row.1, row.2))
                    } else {
                        found
                    })
                })?;
                c.finish()?;
                let again = bench.ask_on(&mut wire, ApiKey::ApiVersions, 3, &request::api_versions("assay"))?;
                let lives = if again.starts_with("apis=") { "answered" } else { &again };
                let own = own.map_or("none".to_owned(), |(min, max)| format!("{min} to {max}"));
                Ok(format!(
                    "correlation id {id}, {}, ApiVersions {own}; the next request on the connection: {lives}",
                    error_name(error)
                ))
            },
        ));
    }
    for (name, software) in [
        ("of a client without a name", ""),
        ("of a client with a strange name", "a client!"),
    ] {
        all.push(Case::new(API, format!("version 3 {name}"), move |bench| {
            let answer = bench.ask(ApiKey::ApiVersions, 3, &request::api_versions(software))?;
            // Which APIs these are is another case.
            Ok(answer.split_once(" apis=").map_or_else(
                || {
                    if answer.starts_with("apis=[{") {
                        "the table".to_owned()
                    } else {
                        answer.clone()
                    }
                },
                |(error, _)| error.to_owned(),
            ))
        }));
    }
}
