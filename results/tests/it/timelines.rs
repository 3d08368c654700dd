//! Charts of who held what, drawn from the files of a run folder.

use std::fs;

use results::reader::{Run, timelines};
use results::report::render;
use tempfile::TempDir;

use crate::synthetic::{Truth, faster, write_run};

const OWNERSHIP: &str = "member,slot,partition,from_ms,to_ms,epoch,ended
1,0,0,0.000,1200.000,1,revoked
1,0,1,0.000,3000.000,1,left
2,1,0,1500.000,3000.000,2,left
";
const DUPLICATES: &str = "at_ms,partition,offset,records,producer,sequence,class,member,slot,epoch,earlier_member,earlier_slot,earlier_epoch,fault,kind
1510.000,0,7,3,0,7,uncommitted,2,1,2,1,0,1,1,join
1512.000,0,10,1,,,zombie,,,,1,0,1,1,join
";
const REBALANCES: &str = "fault,kind,at_ms,healed_ms,settled_ms,again_ms
1,join,1000.000,,500.000,520.000
";

#[test]
fn a_trial_that_is_kept_is_drawn_and_others_are_not() {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), &Truth::one_cell(1.2), vec![faster()]);
    let slug = |name: &str| name.contains("-timeline-");
    let without = render(dir.path()).unwrap().charts;
    assert!(!without.iter().any(|chart| slug(&chart.slug)));

    let trial = Run::open(dir.path()).unwrap().plan[0].clone();
    let folder = dir
        .path()
        .join(timelines::FOLDER)
        .join(timelines::folder_of(trial.trial));
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("ownership.csv", OWNERSHIP),
        ("duplicates.csv", DUPLICATES),
        ("rebalances.csv", REBALANCES),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let run = Run::open(dir.path()).unwrap();
    let [timeline] = run.timelines.as_slice() else {
        panic!("one trial is kept: {:?}", run.timelines)
    };
    assert_eq!((timeline.held.len(), timeline.repeated.len()), (3, 2));
    assert_eq!((timeline.repeated[0].slot, timeline.repeated[1].slot), (Some(1), None));
    assert_eq!(timeline.triggers[0].healed_ms, None);
    let drawn = render(dir.path()).unwrap().charts;
    let chart = drawn.iter().find(|chart| slug(&chart.slug)).unwrap();
    assert_eq!(chart.title, "Who holds which partition around a trigger: join");
    // Its lanes are named, the one of what nobody holds among them.
    for name in ["consumer 1", "consumer 2", "nobody", &trial.factors["fetch.path"]] {
        assert!(chart.svg.contains(name), "{name}");
    }
    assert!(!chart.svg.contains("consumer 3"));

    fs::write(folder.join("ownership.csv"), "member,slot\n1,first\n").unwrap();
    let error = Run::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ownership.csv, line 2, column slot"), "{error}");
}
