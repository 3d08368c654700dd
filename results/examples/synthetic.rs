//! Writes a run folder with invented figures and renders it, to look at tables and charts without measuring:
//! `cargo run -p results --example synthetic -- /tmp/looks [quick|full|one|targets|head-to-head|incomparable|facts]`.

use std::path::Path;

use results::{report, tables};

#[expect(
    clippy::unwrap_used,
    reason = "shared with the tests, where a panic is how a test fails"
)]
#[path = "../tests/it/synthetic.rs"]
mod synthetic;

#[expect(
    clippy::unwrap_used,
    reason = "shared with the tests, where a panic is how a test fails"
)]
#[path = "../tests/it/targets.rs"]
mod targets;

use synthetic::{TrueCell, Truth, at_least, counts, faster, write_run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("give a folder that does not exist yet")?;
    let dir = Path::new(&dir);
    match arguments.next().as_deref() {
        None | Some("quick") => write_one_card(dir, 8, quick()),
        Some("full") => write_one_card(dir, 20, full()),
        Some("one") => write_one_card(dir, 6, vec![("65536", "discard", "hot", vec![("sendfile", 1.9)])]),
        Some("targets") => targets::write_everything(dir),
        Some("head-to-head") => drop(targets::write_head_to_head(
            dir,
            &targets::loads(),
            targets::CLASS,
            true,
        )),
        Some("incomparable") => drop(targets::write_head_to_head(
            dir,
            &targets::loads()[..2],
            "acks=0",
            false,
        )),
        Some("facts") => drop(targets::write_facts(dir, &targets::facts())),
        Some(other) => {
            let known = "quick, full, one, targets, head-to-head, incomparable, facts";
            return Err(format!("{other:?} is none of {known}").into());
        }
    }
    let rendered = report::render(dir)?;
    print!("{}", tables::terminal(&rendered.analysis, true, None));
    println!("{}", rendered.html.display());
    Ok(())
}

fn write_one_card(dir: &Path, blocks: u32, cells: Vec<TrueCell>) {
    let truth = Truth {
        seed: 1,
        blocks,
        noise: 0.06,
        cells,
        control: 1.0,
        limits: true,
    };
    write_run(dir, &truth, vec![faster(), at_least(1.6), counts()]);
}

/// About twenty arms, as in the quick profile.
fn quick() -> Vec<TrueCell> {
    vec![
        ("4096", "discard", "hot", vec![("mmap", 1.5), ("sendfile", 1.4)]),
        (
            "65536",
            "discard",
            "hot",
            vec![("vectored", 1.02), ("mmap", 1.3), ("splice", 2.1), ("sendfile", 2.9)],
        ),
        ("1048576", "discard", "hot", vec![("sendfile", 2.4)]),
        ("65536", "copy", "hot", vec![("sendfile", 1.01)]),
        ("1048576", "copy", "hot", vec![("mmap", 0.8), ("sendfile", 0.6)]),
        ("1048576", "copy", "cold", vec![("sendfile", 1.1)]),
    ]
}

/// Every combination of size, receiver and cache with every path.
fn full() -> Vec<TrueCell> {
    let mut cells = Vec::new();
    for (step, size) in ["4096", "65536", "1048576", "4194304"].into_iter().enumerate() {
        for (receiver, pays) in [("copy", 0.8), ("discard", 1.4)] {
            for (cache, slow) in [("hot", 1.0), ("cold", 0.9)] {
                let gain = pays * slow * (1.0 + 0.2 * f64::from(u32::try_from(step).unwrap_or(0)));
                let paths = vec![
                    ("vectored", 1.0),
                    ("mmap", gain * 0.8),
                    ("splice", gain * 0.95),
                    ("sendfile", gain),
                ];
                cells.push((size, receiver, cache, paths));
            }
        }
    }
    cells
}
