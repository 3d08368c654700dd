//! Which APIs exist, which versions the bundled broker advertises and serves, and Kafka's error codes.

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $value:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        #[expect(missing_docs, reason = "the names are Kafka's own")]
        pub enum $name { $($variant = $value),* }

        impl $name {
            /// Every value, in the order of the table.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The number on the wire.
            pub fn code(self) -> i16 {
                self as i16
            }

            /// From the number on the wire.
            pub fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($value => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

numbered! {
    /// The APIs that the bundled broker serves.
    ApiKey {
        Produce = 0, Fetch = 1, ListOffsets = 2, Metadata = 3, OffsetCommit = 8, OffsetFetch = 9, FindCoordinator = 10,
        JoinGroup = 11, Heartbeat = 12, LeaveGroup = 13, SyncGroup = 14, DescribeGroups = 15, ListGroups = 16,
        ApiVersions = 18, CreateTopics = 19, DeleteTopics = 20, DeleteRecords = 21, InitProducerId = 22,
        OffsetForLeaderEpoch = 23, DescribeConfigs = 32, CreatePartitions = 37, DeleteGroups = 42, OffsetDelete = 47,
        DescribeCluster = 60, ConsumerGroupHeartbeat = 68, ConsumerGroupDescribe = 69,
    }
}

/// One row of the version table.
#[derive(Debug, Clone, Copy)]
pub struct ApiVersionRow {
    /// The API.
    pub key: ApiKey,
    /// Lowest version in the ApiVersions answer.
    pub advertised_min: i16,
    /// Lowest version that is really served.
    pub served_min: i16,
    /// Highest version, advertised and served.
    pub max: i16,
    /// First flexible version (compact lengths, tagged fields).
    pub flexible_from: i16,
}

const fn row(key: ApiKey, served_min: i16, max: i16, flexible_from: i16) -> ApiVersionRow {
    ApiVersionRow {
        key,
        advertised_min: served_min,
        served_min,
        max,
        flexible_from,
    }
}

/// The one table of versions.
///
/// Produce is advertised from 0 and refused below 3, as Kafka 4 does: older librdkafka otherwise sends gzip, snappy and
/// lz4 uncompressed without a word. Produce and Fetch stop at 12, the last version that names topics and not their ids.
pub const VERSIONS: &[ApiVersionRow] = &[
    ApiVersionRow {
        key: ApiKey::Produce,
        advertised_min: 0,
        served_min: 3,
        max: 12,
        flexible_from: 9,
    },
    row(ApiKey::Fetch, 4, 12, 12),
    row(ApiKey::ListOffsets, 1, 10, 6),
    row(ApiKey::Metadata, 0, 12, 9),
    row(ApiKey::OffsetCommit, 2, 9, 8),
    row(ApiKey::OffsetFetch, 1, 9, 6),
    row(ApiKey::FindCoordinator, 0, 4, 3),
    row(ApiKey::JoinGroup, 0, 9, 6),
    row(ApiKey::Heartbeat, 0, 4, 4),
    row(ApiKey::LeaveGroup, 0, 5, 4),
    row(ApiKey::SyncGroup, 0, 5, 4),
    row(ApiKey::DescribeGroups, 0, 6, 5),
    row(ApiKey::ListGroups, 0, 5, 3),
    row(ApiKey::ApiVersions, 0, 4, 3),
    row(ApiKey::CreateTopics, 2, 7, 5),
    row(ApiKey::DeleteTopics, 1, 6, 4),
    row(ApiKey::DeleteRecords, 0, 2, 2),
    row(ApiKey::InitProducerId, 0, 4, 2),
    row(ApiKey::OffsetForLeaderEpoch, 2, 4, 4),
    row(ApiKey::DescribeConfigs, 1, 4, 4),
    row(ApiKey::CreatePartitions, 0, 3, 2),
    row(ApiKey::DeleteGroups, 0, 2, 2),
    // No version of it has compact lengths.
    row(ApiKey::OffsetDelete, 0, 0, i16::MAX),
    row(ApiKey::DescribeCluster, 0, 1, 0),
    row(ApiKey::ConsumerGroupHeartbeat, 0, 1, 0),
    row(ApiKey::ConsumerGroupDescribe, 0, 1, 0),
];

impl ApiKey {
    /// The table's row of this API.
    pub fn versions(self) -> &'static ApiVersionRow {
        VERSIONS
            .iter()
            .find(|row| row.key == self)
            .expect("a test holds the table complete")
    }

    /// Whether `version` is served.
    pub fn serves(self, version: i16) -> bool {
        let row = self.versions();
        (row.served_min..=row.max).contains(&version)
    }

    /// Whether `version` uses compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.versions().flexible_from
    }

    /// Whether the response header of `version` carries tagged fields. ApiVersions never does, so that a client
    /// that guessed the version wrong can read the answer (KIP-511).
    pub fn response_header_is_flexible(self, version: i16) -> bool {
        self != ApiKey::ApiVersions && self.is_flexible(version)
    }
}

numbered! {
    /// Kafka's error codes, as far as they are used here.
    ErrorCode {
        UnknownServerError = -1, None = 0, OffsetOutOfRange = 1, CorruptMessage = 2, UnknownTopicOrPartition = 3,
        LeaderNotAvailable = 5, NotLeaderOrFollower = 6, RequestTimedOut = 7, BrokerNotAvailable = 8, ReplicaNotAvailable = 9,
        MessageTooLarge = 10, OffsetMetadataTooLarge = 12, NetworkException = 13, CoordinatorLoadInProgress = 14,
        CoordinatorNotAvailable = 15, NotCoordinator = 16, InvalidTopicException = 17, RecordListTooLarge = 18, NotEnoughReplicas = 19, NotEnoughReplicasAfterAppend = 20, InvalidRequiredAcks = 21,
        IllegalGeneration = 22, InconsistentGroupProtocol = 23, InvalidGroupId = 24, UnknownMemberId = 25, InvalidSessionTimeout = 26,
        RebalanceInProgress = 27, InvalidCommitOffsetSize = 28, TopicAuthorizationFailed = 29, GroupAuthorizationFailed = 30, ClusterAuthorizationFailed = 31, InvalidTimestamp = 32, UnsupportedSaslMechanism = 33,
        IllegalSaslState = 34, UnsupportedVersion = 35, TopicAlreadyExists = 36, InvalidPartitions = 37,
        InvalidReplicationFactor = 38, InvalidReplicaAssignment = 39, InvalidConfig = 40, NotController = 41, InvalidRequest = 42,
        UnsupportedForMessageFormat = 43, PolicyViolation = 44, OutOfOrderSequenceNumber = 45, DuplicateSequenceNumber = 46,
        InvalidProducerEpoch = 47, InvalidTxnState = 48, TransactionalIdAuthorizationFailed = 53,
        KafkaStorageError = 56, SaslAuthenticationFailed = 58, UnknownProducerId = 59, NonEmptyGroup = 68, GroupIdNotFound = 69, FetchSessionIdNotFound = 70, ListenerNotFound = 72,
        TopicDeletionDisabled = 73, FencedLeaderEpoch = 74, UnknownLeaderEpoch = 75, UnsupportedCompressionType = 76,
        OffsetNotAvailable = 78, MemberIdRequired = 79, GroupMaxSizeReached = 81, FencedInstanceId = 82, GroupSubscribedToTopic = 86,
        InvalidRecord = 87, UnstableOffsetCommit = 88, ThrottlingQuotaExceeded = 89, UnknownTopicId = 100, InconsistentTopicId = 103,
        FencedMemberEpoch = 110, UnreleasedInstanceId = 111, UnsupportedAssignor = 112, StaleMemberEpoch = 113,
        MismatchedEndpointType = 114, UnsupportedEndpointType = 115, InvalidRegularExpression = 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_one_row() {
        for key in ApiKey::ALL {
            assert_eq!(VERSIONS.iter().filter(|row| row.key == *key).count(), 1, "{key:?}");
        }
        assert_eq!(VERSIONS.len(), ApiKey::ALL.len());
    }
}
