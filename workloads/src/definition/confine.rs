//! A definition for some of its cells only, for whoever has the time for one question of it.

use super::{Arm, Definition, Profile, ProfileName, Work};
use crate::member::MemberClient;
use std::collections::BTreeMap;
use std::str::FromStr;

/// One level that is to be kept, written `FACTOR=LEVEL`. Several of one factor are alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    factor: String,
    level: String,
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((factor, level)) if !factor.is_empty() && !level.is_empty() => Ok(Kept {
                factor: factor.to_owned(),
                level: level.to_owned(),
            }),
            _ => Err("expected FACTOR=LEVEL, such as `workload=fetch`".to_owned()),
        }
    }
}

impl Definition {
    /// Leaves out every arm of the profile that has another level of a factor than those kept.
    ///
    /// # Errors
    /// A factor or level that the definition or its profile does not have, with those that it has; the factor under test, without which nothing is
    /// compared; levels that no cell has together.
    pub fn confine(&mut self, profile: ProfileName, kept: &[Kept]) -> Result<(), String> {
        let mut levels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for kept in kept {
            self.check_kept(self.profile(profile), kept)?;
            levels.entry(&kept.factor).or_default().push(&kept.level);
        }
        // A limit may lack a factor that it knows nothing of.
        let is_kept = |arm: &Arm| {
            let has = |(factor, kept): (&&str, &Vec<&str>)| {
                arm.factors
                    .get(*factor)
                    .is_none_or(|level| kept.contains(&level.as_str()))
            };
            levels.iter().all(has)
        };
        let arms: Vec<Arm> = self
            .profile(profile)
            .arms
            .iter()
            .filter(|arm| is_kept(arm))
            .cloned()
            .collect();
        if arms.is_empty() {
            return Err(format!(
                "no cell of {} has all of these levels; see `assay show {}`",
                self.name, self.name
            ));
        }
        self.profile_mut(profile).arms = arms;
        Ok(())
    }

    /// Whether a profile has groups whose members are Java's.
    pub fn needs_java(&self, profile: ProfileName) -> bool {
        self.profile(profile).arms.iter().any(|arm| self.is_of_java(arm))
    }

    /// Leaves out every arm of the profile whose members are Java's; `None` when nothing is left that could be compared.
    pub fn without_java(mut self, profile: ProfileName) -> Option<Self> {
        let mut arms = self.profile(profile).arms.clone();
        arms.retain(|arm| !self.is_of_java(arm));
        let has = |level: &String| arms.iter().any(|arm| arm.factors.get(&self.treatment) == Some(level));
        if !has(&self.baseline) || !has(&self.focus) {
            return None;
        }
        self.profile_mut(profile).arms = arms;
        Some(self)
    }

    fn is_of_java(&self, arm: &Arm) -> bool {
        let Work::Group(group) = self.work else { return false };
        let levels = arm.factors.iter().map(|(name, level)| (name.as_str(), level.as_str()));
        group.with(levels).is_ok_and(|group| group.client == MemberClient::Java)
    }

    fn check_kept(&self, profile: &Profile, Kept { factor, level }: &Kept) -> Result<(), String> {
        if *factor == self.treatment {
            return Err(format!(
                "`{factor}` is what {} compares, so all its levels are needed",
                self.name
            ));
        }
        if self.factor(factor).is_none() {
            let others = self.factors.iter().filter(|known| known.name != self.treatment);
            let known: Vec<&str> = others.map(|known| known.name.as_str()).collect();
            return Err(format!(
                "{} has no factor `{factor}`; there are: {}",
                self.name,
                known.join(", ")
            ));
        }
        let mut measured: Vec<&str> = Vec::new();
        for found in profile.arms.iter().filter_map(|arm| arm.factors.get(factor)) {
            if !measured.contains(&found.as_str()) {
                measured.push(found);
            }
        }
        match measured.contains(&level.as_str()) {
            true => Ok(()),
            false => Err(format!(
                "{} does not measure `{factor}={level}` in this profile; there are: {}",
                self.name,
                measured.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_TO_HEAD: &str = include_str!("../../definitions/head-to-head.toml");

    fn confined(kept: &[&str]) -> Result<Definition, String> {
        let mut definition = Definition::parse("head-to-head.toml", HEAD_TO_HEAD).unwrap();
        let kept: Vec<Kept> = kept.iter().map(|text| text.parse().unwrap()).collect();
        definition.confine(ProfileName::Quick, &kept).map(|()| definition)
    }

    #[test]
    fn cells_with_other_levels_are_left_out() {
        let whole = confined(&[]).unwrap();
        let confined = confined(&["workload=fetch", "batch_bytes=16384", "batch_bytes=65536"]).unwrap();
        let wanted = |arm: &&Arm| arm.factors["workload"] == "fetch" && arm.factors["batch_bytes"] != "1048576";
        let expected: Vec<&Arm> = whole.profile(ProfileName::Quick).arms.iter().filter(wanted).collect();
        let found: Vec<&Arm> = confined.profile(ProfileName::Quick).arms.iter().collect();
        assert!(!expected.is_empty());
        assert_eq!(found, expected);
        assert_eq!(
            confined.profile(ProfileName::Full).arms,
            whole.profile(ProfileName::Full).arms,
            "the other profile stays"
        );
    }

    /// The slow handler with Java's client as one more remedy.
    fn with_java() -> Definition {
        let text = include_str!("../../definitions/slow-handler.toml")
            .replace("[\"none\",", "[\"none\", \"client-java\",")
            .replace("auto-after-processing", "async-per-batch");
        Definition::parse("slow-handler.toml", &text).unwrap()
    }

    #[test]
    fn arms_of_java_are_left_out_where_it_is_missing() {
        let whole = with_java();
        let of_java = |definition: &Definition, name| {
            let arms = &definition.profile(name).arms;
            arms.iter().filter(|arm| arm.factors["remedy"] == "client-java").count()
        };
        assert!(whole.needs_java(ProfileName::Quick));
        assert_eq!(
            (of_java(&whole, ProfileName::Quick), of_java(&whole, ProfileName::Full)),
            (1, 6)
        );
        let rest = whole.clone().without_java(ProfileName::Quick).unwrap();
        assert!(!rest.needs_java(ProfileName::Quick) && rest.needs_java(ProfileName::Full));
        assert_eq!(rest.quick.arms.len() + 1, whole.quick.arms.len());

        let compared = Definition {
            focus: "client-java".to_owned(),
            ..whole
        };
        assert_eq!(
            compared.without_java(ProfileName::Quick).map(|rest| rest.name),
            None,
            "nothing to compare"
        );
        assert!(
            !Definition::parse("head-to-head.toml", HEAD_TO_HEAD)
                .unwrap()
                .needs_java(ProfileName::Full)
        );
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let refused = |kept: &str| confined(&[kept]).unwrap_err();
        assert!(refused("target=kafka").contains("is what head-to-head compares"));
        assert!(refused("colour=red").contains("there are: workload, record_bytes, batch_bytes, partitions"));
        assert!(refused("batch_bytes=7").contains("there are: 16384, 65536, 1048576"));
        let together = confined(&["record_bytes=100", "batch_bytes=1048576"]).unwrap_err();
        assert!(together.contains("no cell of head-to-head has all of these levels"));
        for text in ["", "fetch", "=fetch", "workload="] {
            assert!(text.parse::<Kept>().is_err(), "{text}");
        }
    }
}
