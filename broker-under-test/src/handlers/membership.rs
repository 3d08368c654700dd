//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: the classic protocol of groups.

use std::time::Duration;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use kafka_wire::ErrorCode;
use uuid::Uuid;

use super::{Call, text};
use crate::groups::{Joined, Joining, NAME_BYTES_MAX, Protocol, Synced, Syncing};

/// The first version of JoinGroup that tells a new member its id first.
const REQUIRED_ID: i16 = 4;
/// The first version of JoinGroup whose names of protocols may be null.
const NULL_PROTOCOL: i16 = 7;
/// The first version of JoinGroup that knows leaders who leave everything as it is.
const SKIPPED_ASSIGNMENT: i16 = 9;
/// The first version of SyncGroup that names the protocol.
const NAMED_PROTOCOL: i16 = 5;
/// The first version of LeaveGroup for several members.
const SEVERAL_MEMBERS: i16 = 3;

/// A name that can't be written down is no name.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
}

fn owned(name: Option<&StrBytes>) -> Option<String> {
    name.map(StrBytes::to_string)
}

pub(super) fn join_group(call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let id = request.member_id.to_string();
    let joined = match joining(call, &request) {
        Ok(joining) => {
            let broker = call.broker;
            let is_stopping = || broker.is_stopping();
            broker
                .groups
                .join(&broker.topics, &request.group_id, joining, is_stopping)
        }
        Err(error) => Joined::refused(error, id),
    };
    let nullable = |name: Option<String>| name.or_else(|| (call.version < NULL_PROTOCOL).then(String::new));
    let member = |told: crate::groups::Told| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&told.member_id))
            .with_group_instance_id(told.instance.as_deref().map(text))
            .with_metadata(told.metadata)
    };
    JoinGroupResponse::default()
        .with_error_code(joined.error.code())
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.as_deref().map(text))
        .with_protocol_name(nullable(joined.protocol).as_deref().map(text))
        .with_leader(text(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}

fn joining(call: &Call, request: &JoinGroupRequest) -> Result<Joining, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let config = &call.broker.config;
    let session_ms = i64::from(request.session_timeout_ms);
    let (min, max) = (
        config.int("group.min.session.timeout.ms"),
        config.int("group.max.session.timeout.ms"),
    );
    if !(min..=max).contains(&session_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    let instance = request.group_instance_id.as_ref();
    let mut names = vec![
        &*request.group_id,
        &*request.member_id,
        &*request.protocol_type,
        call.client_id,
    ];
    names.extend(instance.map(|name| &**name));
    names.extend(request.protocols.iter().map(|p| &*p.name));
    if !names.into_iter().all(is_name) {
        return Err(ErrorCode::InvalidRequest);
    }
    let millis = |ms: i64| Duration::from_millis(ms.max(0) as u64);
    // The first version has one timeout for both.
    let rebalance_ms = if call.version == 0 {
        session_ms
    } else {
        i64::from(request.rebalance_timeout_ms)
    };
    let protocol = |p: &kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| Protocol {
        name: p.name.to_string(),
        metadata: p.metadata.clone(),
    };
    Ok(Joining {
        member_id: request.member_id.to_string(),
        fresh_id: format!("{}-{}", instance.map_or(call.client_id, |name| name), Uuid::new_v4()),
        instance: owned(instance),
        client_id: call.client_id.to_owned(),
        client_host: call.host.to_owned(),
        session_timeout: millis(session_ms),
        rebalance_timeout: millis(rebalance_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.iter().map(protocol).collect(),
        knows_required_id: call.version >= REQUIRED_ID,
        knows_skipping: call.version >= SKIPPED_ASSIGNMENT,
    })
}

pub(super) fn sync_group(call: &Call, request: SyncGroupRequest) -> SyncGroupResponse {
    let lacks_protocol = request.protocol_type.is_none() || request.protocol_name.is_none();
    let synced = if request.group_id.is_empty() {
        Synced::refused(ErrorCode::InvalidGroupId)
    } else if call.version >= NAMED_PROTOCOL && lacks_protocol {
        Synced::refused(ErrorCode::InconsistentGroupProtocol)
    } else {
        let broker = call.broker;
        let assignments = request.assignments.into_iter();
        let syncing = Syncing {
            member_id: request.member_id.to_string(),
            instance: owned(request.group_instance_id.as_ref()),
            generation: request.generation_id,
            protocol_type: owned(request.protocol_type.as_ref()),
            protocol: owned(request.protocol_name.as_ref()),
            assignments: assignments.map(|a| (a.member_id.to_string(), a.assignment)).collect(),
        };
        let is_stopping = || broker.is_stopping();
        broker
            .groups
            .sync(&broker.topics, &request.group_id, syncing, is_stopping)
    };
    SyncGroupResponse::default()
        .with_error_code(synced.error.code())
        .with_protocol_type(synced.protocol_type.as_deref().map(text))
        .with_protocol_name(synced.protocol.as_deref().map(text))
        .with_assignment(synced.assignment)
}

pub(super) fn heartbeat(call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
    let error = match request.group_id.is_empty() {
        true => ErrorCode::InvalidGroupId,
        false => call.broker.groups.heartbeat(
            &call.broker.topics,
            &request.group_id,
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id,
        ),
    };
    HeartbeatResponse::default().with_error_code(error.code())
}

pub(super) fn leave_group(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let refused = |error: ErrorCode| LeaveGroupResponse::default().with_error_code(error.code());
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let mut members: Vec<(&str, Option<&str>)> = Vec::new();
    if call.version < SEVERAL_MEMBERS {
        members.push((&request.member_id, None));
    }
    let several = request.members.iter();
    members.extend(several.map(|m| (&*m.member_id, m.group_instance_id.as_deref())));
    let errors = call
        .broker
        .groups
        .leave(&call.broker.topics, &request.group_id, &members);
    // Nobody is in a group that is not there.
    let errors = errors.unwrap_or_else(|| vec![ErrorCode::UnknownMemberId; members.len()]);
    if call.version < SEVERAL_MEMBERS {
        return refused(errors.first().copied().unwrap_or(ErrorCode::None));
    }
    let answer = |((id, instance), error): (&(&str, Option<&str>), ErrorCode)| {
        MemberResponse::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
            .with_error_code(error.code())
    };
    LeaveGroupResponse::default().with_members(members.iter().zip(errors).map(answer).collect())
}
