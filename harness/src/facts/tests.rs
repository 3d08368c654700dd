use super::*;
use std::collections::BTreeSet;
use workloads::facts;

#[test]
fn every_fact_has_a_look_up_and_every_look_up_a_fact() {
    let definition = facts::embedded().unwrap().remove(0);
    let observed: Vec<&str> = definition
        .facts
        .iter()
        .filter_map(|fact| match &fact.look_up {
            LookUp::Observe(name) => Some(name.as_str()),
            LookUp::Default { .. } => None,
        })
        .collect();
    let known: BTreeSet<&str> = OBSERVATIONS.into();
    assert_eq!(observed.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(observed.len(), known.len(), "an observation is used twice");
}

#[test]
fn every_observation_is_answered_by_code() {
    let nothing = || Err("not tried".to_owned());
    let seen = Seen {
        settings: Err("not tried".to_owned()),
        folder: Err("not tried".to_owned()),
        quorum: nothing(),
        flushes: nothing(),
        plain: nothing(),
        tls: nothing(),
        java: Err("not tried".to_owned()),
        committed: nothing(),
    };
    let definition = facts::embedded().unwrap().remove(0);
    for fact in &definition.facts {
        assert_eq!(seen.answer(fact), nothing(), "{}", fact.id);
    }
}

#[test]
fn the_verdict_follows_what_was_seen_and_the_version() {
    let mut statement = facts::embedded().unwrap().remove(0).facts.remove(0);
    statement.true_before = Version::parse("3.0.0");
    let (old, new) = (Version::parse("2.8.2"), Version::parse("4.3.1"));
    let of = |holds, version: &Option<Version>| verdict(&statement, holds, version.as_ref());
    assert_eq!(of(true, &new), FactVerdict::True);
    assert_eq!(of(false, &new), FactVerdict::Outdated);
    assert_eq!(of(false, &Version::parse("3.0.0")), FactVerdict::Outdated);
    // It is said to hold there, and does not.
    assert_eq!(of(false, &old), FactVerdict::False);
    assert_eq!(of(false, &None), FactVerdict::False);
    statement.true_before = None;
    assert_eq!(verdict(&statement, false, new.as_ref()), FactVerdict::False);
}

#[test]
fn a_failed_step_is_a_reason_and_ctrl_c_an_error() {
    let failed = anyhow::anyhow!("no route").context("the topic could not be filled");
    let reason = step::<()>(Err(failed)).unwrap().unwrap_err();
    assert_eq!(reason, "the topic could not be filled: no route");
    let interrupted = step::<()>(Err(interrupt::Interrupted.into())).unwrap_err();
    assert!(interrupted.is::<interrupt::Interrupted>());
}
