//! FindCoordinator, ListGroups, DescribeGroups, DeleteGroups.

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    BrokerId, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;
use kafka_wire::ErrorCode;

use super::{Call, advertised_host, node_id, text};
use crate::groups::DescribedMember;

/// What is said of a group that is not there where there is no error for it.
const DEAD: &str = "Dead";
/// The first version of FindCoordinator for several keys.
const SEVERAL_KEYS: i16 = 4;
/// The first version of DescribeGroups with an error for a group that is not there.
const UNKNOWN_GROUP: i16 = 6;
/// The kinds of coordinators.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// All groups are this broker's. There are no transactions yet: the error is one that clients do not retry, so that they say so at once.
pub(super) fn find_coordinator(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let broker = call.broker;
    let refusal = match request.key_type {
        GROUP => None,
        TRANSACTION => Some((
            ErrorCode::UnsupportedVersion,
            "transactions are not supported by this broker yet",
        )),
        _ => Some((ErrorCode::InvalidRequest, "unknown coordinator type")),
    };
    let (code, message) = refusal.map_or((0, None), |(error, message)| (error.code(), Some(text(message))));
    let (node, host, port) = match refusal {
        None => (node_id(broker), advertised_host(broker), i32::from(broker.port)),
        Some(_) => (BrokerId(-1), StrBytes::default(), -1),
    };
    if call.version < SEVERAL_KEYS {
        return FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_node_id(node)
            .with_host(host)
            .with_port(port);
    }
    let one = |key: &StrBytes| {
        Coordinator::default()
            .with_key(key.clone())
            .with_error_code(code)
            .with_error_message(message.clone())
            .with_node_id(node)
            .with_host(host.clone())
            .with_port(port)
    };
    FindCoordinatorResponse::default().with_coordinators(request.coordinator_keys.iter().map(one).collect())
}

pub(super) fn list_groups(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    let names = |words: &[StrBytes], word: &str| words.is_empty() || words.iter().any(|w| w.eq_ignore_ascii_case(word));
    let all = call.broker.groups.list(&call.broker.topics).into_iter();
    let wanted =
        all.filter(|(_, _, state, kind)| names(&request.states_filter, state) && names(&request.types_filter, kind));
    let listed = wanted.map(|(name, protocol_type, state, kind)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(&name)))
            .with_protocol_type(text(&protocol_type))
            .with_group_state(text(state))
            .with_group_type(text(kind))
    });
    ListGroupsResponse::default().with_groups(listed.collect())
}

pub(super) fn describe_groups(call: &Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let member = |m: DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(text(&m.id))
            .with_group_instance_id(m.instance.as_deref().map(text))
            .with_client_id(text(&m.client_id))
            .with_client_host(text(&m.client_host))
            .with_member_metadata(m.metadata)
            .with_member_assignment(m.assignment)
    };
    let one = |name: &GroupId| {
        let answer = DescribedGroup::default().with_group_id(name.clone());
        match call.broker.groups.describe(&call.broker.topics, name) {
            Ok(group) => answer
                .with_group_state(text(group.state))
                .with_protocol_type(text(&group.protocol_type))
                .with_protocol_data(text(&group.protocol))
                .with_members(group.members.into_iter().map(member).collect()),
            Err(_) if call.version < UNKNOWN_GROUP => answer.with_group_state(text(DEAD)),
            Err(is_of_kip848) => {
                let what = if is_of_kip848 {
                    "is not a classic group"
                } else {
                    "not found"
                };
                answer
                    .with_group_state(text(DEAD))
                    .with_error_code(ErrorCode::GroupIdNotFound.code())
                    .with_error_message(Some(text(&format!("Group {} {what}.", name.as_str()))))
            }
        }
    };
    // Each group once, so that a short request can't ask for the same long answer many times.
    let mut seen = BTreeSet::new();
    let distinct = request.groups.iter().filter(|name| seen.insert(*name));
    DescribeGroupsResponse::default().with_groups(distinct.map(one).collect())
}

pub(super) fn delete_groups(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let one = |name: &GroupId| {
        let error = call.broker.groups.delete(&call.broker.topics, name);
        DeletableGroupResult::default()
            .with_group_id(name.clone())
            .with_error_code(error.code())
    };
    let mut seen = BTreeSet::new();
    let distinct = request.groups_names.iter().filter(|name| seen.insert(*name));
    DeleteGroupsResponse::default().with_results(distinct.map(one).collect())
}
