// How a member's consumer is made, and what it tells of itself.

import com.fasterxml.jackson.databind.JsonNode;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Client {
    /** What a fetch may bring, so that the heap of the process is large enough. */
    static final int FETCH_BYTES_MAX = 8 << 20;
    /** The property by which a member's interceptor finds it. */
    static final String SELF = "assay.member";

    /** A member's properties, in Java's names. */
    static Map<String, Object> properties(String brokers, GroupMember member) {
        JsonNode spec = member.spec;
        JsonNode times = spec.get("times");
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", brokers);
        all.put("client.id", "assay-member-" + member.number);
        all.put("group.id", spec.get("group").asText());
        all.put("key.deserializer", ByteArrayDeserializer.class);
        all.put("value.deserializer", ByteArrayDeserializer.class);
        all.put("auto.offset.reset", "earliest");
        all.put("enable.auto.commit", member.isAuto());
        all.put("auto.commit.interval.ms", times.get("auto_commit_interval_ms").asInt());
        all.put("max.poll.interval.ms", times.get("max_poll_interval_ms").asInt());
        all.put("max.poll.records", spec.get("max_poll_records").asInt());
        all.put("metadata.max.age.ms", times.get("metadata_refresh_ms").asInt());
        all.put("allow.auto.create.topics", false);
        all.put("fetch.max.wait.ms", 100);
        all.put("fetch.max.bytes", FETCH_BYTES_MAX);
        if (!spec.get("instance_id").isNull()) all.put("group.instance.id", spec.get("instance_id").asText());
        if (member.isAuto()) {
            all.put("interceptor.classes", List.of(Answers.class));
            all.put(SELF, member);
        }
        if (member.isKip848()) {
            // The other times are the broker's, and errors here.
            all.put("group.protocol", "consumer");
            if (!spec.get("remote_assignor").isNull()) all.put("group.remote.assignor", spec.get("remote_assignor").asText());
        } else {
            all.put("group.protocol", "classic");
            all.put("partition.assignment.strategy", List.of(switch (spec.get("protocol").asText()) {
                case "range" -> RangeAssignor.class;
                case "roundrobin" -> RoundRobinAssignor.class;
                case "cooperative-sticky" -> CooperativeStickyAssignor.class;
                default -> throw new IllegalArgumentException("no assignor is called " + spec.get("protocol"));
            }));
            all.put("session.timeout.ms", times.get("session_timeout_ms").asInt());
            all.put("heartbeat.interval.ms", times.get("heartbeat_interval_ms").asInt());
        }
        return all;
    }

    /** Hears of the commits that the client made by itself; of those that failed it tells nothing. */
    public static class Answers implements ConsumerInterceptor<byte[], byte[]> {
        private GroupMember member;

        @Override public void configure(Map<String, ?> settings) {
            member = (GroupMember) settings.get(SELF);
        }

        @Override public void onCommit(Map<TopicPartition, OffsetAndMetadata> places) {
            member.history.write(places.entrySet().stream().map(one -> new Event(Event.COMMITTED,
                member.numberOf(one.getKey().topic(), one.getKey().partition()), one.getValue().offset(), 0, 0, 0, member.epoch, 0)).toList());
        }

        @Override public ConsumerRecords<byte[], byte[]> onConsume(ConsumerRecords<byte[], byte[]> records) {
            return records;
        }

        @Override public void close() {}
    }
}
