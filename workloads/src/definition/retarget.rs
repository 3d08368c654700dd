//! A definition for the targets that there are: arms of missing ones are left out, and a cluster that runs already takes the arms of
//! Apache Kafka that can be measured from outside.

use super::{Arm, BUNDLED, CLUSTER, Definition, KAFKA, NULL, Profile, Role, TARGET_FACTOR, Work};

impl Definition {
    /// The part of it that can be measured on `targets` (names as in plans); `None` when nothing is left. `cluster_is_tls` says how clients
    /// talk to the cluster, when there is one: it has a single listener for us.
    pub fn for_targets(&self, targets: &[&str], cluster_is_tls: bool) -> Vec<Definition> {
        match self.factor(TARGET_FACTOR) {
            Some(_) if self.treatment == TARGET_FACTOR => self.between(targets).into_iter().collect(),
            _ => {
                let mut found = Vec::new();
                if targets.contains(&self.target.as_str()) {
                    found.push(self.clone());
                }
                if self.target == KAFKA && targets.contains(&CLUSTER) {
                    found.extend(match self.work {
                        Work::Client(_) | Work::Group(_) => Some(self.of_clients_on(CLUSTER)),
                        _ => self.on_cluster(if cluster_is_tls { "tls" } else { "plain" }),
                    });
                }
                // Whoever asks what clients cost may ask it of a broker that stores, too.
                if self.target == NULL && targets.contains(&BUNDLED) {
                    found.push(self.of_clients_on(BUNDLED));
                }
                found
            }
        }
    }

    /// One whose targets are compared.
    fn between(&self, targets: &[&str]) -> Option<Definition> {
        let mut definition = self.clone();
        let levels: Vec<String> = [KAFKA, CLUSTER, BUNDLED]
            .iter()
            .filter(|level| targets.contains(level))
            .map(|l| (*l).to_owned())
            .collect();
        definition.baseline = levels.first()?.clone();
        definition.focus = levels.last()?.clone();
        if levels.iter().any(|level| level == CLUSTER) && definition.deciding_metric.starts_with("broker_") {
            // Nobody can read a remote broker's CPU clock.
            definition.deciding_metric = "throughput".to_owned();
        }
        let compared = |level: &str| definition.baseline == self.baseline && levels.iter().any(|l| l == level);
        definition.claims.retain(|claim| claim.level().is_some_and(compared));
        let of = |profile: &Profile| {
            let arms = levels.iter().flat_map(|level| {
                let template = if level == CLUSTER { KAFKA } else { level };
                let of_target = profile
                    .arms
                    .iter()
                    .filter(move |arm| arm.factors[TARGET_FACTOR] == template);
                let is_baseline = *level == definition.baseline;
                of_target
                    .filter(move |arm| arm.role == Role::Measured || is_baseline)
                    .map(move |arm| renamed(arm, TARGET_FACTOR, template, level))
            });
            Profile {
                arms: arms.collect(),
                ..profile.clone()
            }
        };
        (definition.quick, definition.full) = (of(&self.quick), of(&self.full));
        if let Some(factor) = definition
            .factors
            .iter_mut()
            .find(|factor| factor.name == TARGET_FACTOR)
        {
            factor.levels = levels;
        }
        Some(definition)
    }

    /// One on Kafka, on a cluster with a single listener: nothing is compared, the figures stand beside those of other targets.
    fn on_cluster(&self, listener: &str) -> Option<Definition> {
        let mut definition = self.clone();
        definition.target = CLUSTER.to_owned();
        definition.baseline = listener.to_owned();
        definition.focus = listener.to_owned();
        definition.claims.clear();
        definition.warm_up = None;
        let of = |profile: &Profile| {
            // A page cache elsewhere can't be emptied.
            let can = |arm: &&Arm| {
                arm.role == Role::Measured
                    && arm.factors.get(&self.treatment).is_some_and(|level| level == listener)
                    && arm.factors.get("cache").is_none_or(|cache| cache == "hot")
            };
            let arms = profile.arms.iter().filter(can).map(|arm| Arm {
                id: arm.id.replacen(KAFKA, CLUSTER, 1),
                ..arm.clone()
            });
            Profile {
                arms: arms.collect(),
                ..profile.clone()
            }
        };
        (definition.quick, definition.full) = (of(&self.quick), of(&self.full));
        (!definition.quick.arms.is_empty()).then_some(definition)
    }
}

impl Definition {
    /// One whose clients are what is varied, on another target: it is asked the same, but for what nobody can read of a cluster from outside.
    fn of_clients_on(&self, target: &str) -> Definition {
        let mut definition = self.clone();
        definition.target = target.to_owned();
        if target == CLUSTER {
            definition.claims.retain(|claim| !claim.metric().starts_with("broker_"));
        }
        for profile in [&mut definition.quick, &mut definition.full] {
            for arm in &mut profile.arms {
                // Arms of several targets meet in one run.
                arm.id = match self.target == KAFKA {
                    true => arm.id.replacen(KAFKA, target, 1),
                    false => format!("{target}/{}", arm.id),
                };
            }
        }
        definition
    }
}

fn renamed(arm: &Arm, factor: &str, from: &str, to: &str) -> Arm {
    let mut renamed = arm.clone();
    renamed.factors.insert(factor.to_owned(), to.to_owned());
    renamed.id = arm.id.replacen(from, to, 1);
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::embedded;

    fn named(name: &str, target: &str) -> Definition {
        let all = embedded().unwrap();
        all.into_iter().find(|d| d.name == name && d.target == target).unwrap()
    }

    fn ids(definition: &Definition) -> Vec<&str> {
        definition.quick.arms.iter().map(|arm| arm.id.as_str()).collect()
    }

    #[test]
    fn a_target_that_is_there_changes_nothing() {
        for definition in embedded().unwrap() {
            let same = definition.for_targets(&["kafka", "bundled", "machine", "null"], false);
            let sorted = |mut ids: Vec<String>| {
                ids.sort();
                ids
            };
            let of = |d: &Definition| sorted(ids(d).into_iter().map(str::to_owned).collect());
            assert_eq!(of(&same[0]), of(&definition));
            assert_eq!(same[0].claims, definition.claims);
        }
        assert!(named("zero-copy", BUNDLED).for_targets(&["kafka"], false).is_empty());
        assert!(
            named("head-to-head", BUNDLED)
                .for_targets(&["rocketmq"], false)
                .is_empty()
        );
    }

    #[test]
    fn a_cluster_takes_the_place_of_kafka() {
        let definition = named("head-to-head", BUNDLED);
        let both = &definition.for_targets(&["bundled", "cluster"], false)[0];
        assert_eq!(
            (both.baseline.as_str(), both.deciding_metric.as_str()),
            ("cluster", "throughput")
        );
        assert_eq!(both.quick.arms.len(), definition.quick.arms.len());
        assert!(both.claims.is_empty(), "they talk of Kafka");
        assert!(
            ids(both).contains(&"cluster/produce/1KiB/16KiB/1")
                && ids(both).contains(&"control/cluster/produce/1KiB/16KiB/1")
        );
        assert!(
            both.quick
                .arms
                .iter()
                .all(|arm| arm.id.contains(&arm.factors[TARGET_FACTOR]))
        );
        let three = &definition.for_targets(&["bundled", "cluster", "kafka"], false)[0];
        assert_eq!(
            three.factor(TARGET_FACTOR).unwrap().levels,
            ["kafka", "cluster", "bundled"]
        );
        assert!(!three.claims.is_empty());
        let controls = three.quick.arms.iter().filter(|arm| arm.role == Role::Control).count();
        assert_eq!(controls, 6, "of the baseline only");
    }

    #[test]
    fn a_cluster_is_asked_all_of_clients_that_can_be_seen_from_outside() {
        let definition = named("batching", KAFKA);
        let on = &definition.for_targets(&["cluster"], true)[0];
        assert_eq!(on.quick.arms.len(), definition.quick.arms.len());
        assert!(ids(on).iter().all(|id| id.starts_with("cluster/")), "{:?}", ids(on));
        let claims: Vec<&str> = on.claims.iter().map(|claim| claim.id()).collect();
        assert!(
            claims.contains(&"batches") && !claims.contains(&"batches-cpu"),
            "{claims:?}"
        );
    }

    #[test]
    fn clients_of_a_broker_that_stores_nothing_may_meet_one_that_stores() {
        let definition = named("client-cost", NULL);
        let [null, bundled] = &definition.for_targets(&["null", "bundled"], false)[..] else {
            panic!("one part for each target")
        };
        assert_eq!((null.target.as_str(), bundled.target.as_str()), (NULL, BUNDLED));
        let of_bundled: Vec<String> = ids(null).iter().map(|id| format!("bundled/{id}")).collect();
        assert_eq!(ids(bundled), of_bundled);
        assert_eq!(null.claims, bundled.claims);
        assert!(named("batching", BUNDLED).for_targets(&["null"], false).is_empty());
    }

    #[test]
    fn a_cluster_has_one_listener_and_no_cold_pages() {
        let definition = named("zero-copy", KAFKA);
        for (is_tls, listener) in [(false, "plain"), (true, "tls")] {
            let on = &definition.for_targets(&["cluster"], is_tls)[0];
            assert_eq!((on.target.as_str(), on.baseline.as_str()), (CLUSTER, listener));
            assert!(!on.quick.arms.is_empty());
            for arm in on.quick.arms.iter().chain(&on.full.arms) {
                assert_eq!(
                    (arm.factors["listener"].as_str(), arm.factors["cache"].as_str()),
                    (listener, "hot")
                );
                assert!(arm.id.starts_with("cluster/"), "{}", arm.id);
            }
        }
    }
}
