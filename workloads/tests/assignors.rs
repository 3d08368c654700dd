//! The assignors against the answers of the Java client, which `ci/clients.d/Assignors.java` wrote down.

use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use workloads::assign::{Assignor, Member, Place, Topic, assign};

const ANSWERS: &str = include_str!("golden/assignors-4.3.1.jsonl");

#[derive(Deserialize)]
struct Group {
    topics: BTreeMap<String, u32>,
    members: Vec<GroupMember>,
    answers: HashMap<Assignor, Vec<String>>,
}

#[derive(Deserialize)]
struct GroupMember {
    id: String,
    topics: String,
    owned: String,
}

#[test]
fn answers_are_those_of_the_java_client() {
    let mut lines = ANSWERS.lines();
    let head = lines.next().expect("a first line that names the version");
    assert!(head.contains("\"kafka_clients\":\"4.3.1\""), "{head}");
    let (mut compared, mut different) = (0, Vec::new());
    for (number, line) in (2..).zip(lines) {
        let group: Group = serde_json::from_str(line).unwrap_or_else(|error| panic!("line {number}: {error}"));
        let names: Vec<&String> = group.topics.keys().collect();
        let topic = |name: &str| names.iter().position(|known| *known == name).unwrap();
        let place = |text: &str| {
            let (name, partition) = text.rsplit_once('-').unwrap();
            Place {
                topic: topic(name),
                partition: partition.parse().unwrap(),
            }
        };
        let places = |text: &str| text.split_whitespace().map(place).collect::<Vec<Place>>();
        let topics = group.topics.iter().map(|(name, partitions)| Topic {
            name: name.clone(),
            partitions: *partitions,
        });
        let topics: Vec<Topic> = topics.collect();
        let members = group.members.iter().map(|member| Member {
            id: member.id.clone(),
            topics: member.topics.split(' ').map(topic).collect(),
            owned: places(&member.owned),
        });
        let members: Vec<Member> = members.collect();
        for (assignor, answers) in &group.answers {
            let expected: Vec<Vec<Place>> = answers.iter().map(|text| places(text)).collect();
            let mut assigned = assign(*assignor, &topics, &members).unwrap();
            assigned.iter_mut().for_each(|places| places.sort_unstable());
            compared += 1;
            if assigned != expected {
                different.push(format!(
                    "line {number}, {assignor:?}: {assigned:?}\n   and not {expected:?}"
                ));
            }
        }
    }
    assert!(
        different.is_empty(),
        "{} of {compared} differ:\n{}",
        different.len(),
        different.join("\n")
    );
    assert_eq!(compared, 600);
}
