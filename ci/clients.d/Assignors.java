// The Java client's own assignors, asked about seeded groups: one line of JSON for each, with the answers of all four. The answers of one
// version are kept in workloads/tests/golden; the Rust ones must give the same, and ci/kafka compares what a client says today.
//
// Usage: java -cp 'JARS/*' Assignors.java > workloads/tests/golden/assignors-VERSION.jsonl

import java.nio.ByteBuffer;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.*;
import org.apache.kafka.clients.consumer.internals.AbstractPartitionAssignor;
import org.apache.kafka.common.*;
import org.apache.kafka.common.utils.AppInfoParser;

public class Assignors {
    static final String[] ASSIGNORS = {"range", "roundrobin", "sticky", "cooperative-sticky"};
    static final int RANDOM_GROUPS = 90;
    static final int CHAINS = 12;
    static final int GENERATION = 7;
    static final Node NODE = new Node(0, "127.0.0.1", 9092);

    static class Member {
        String id;
        List<String> topics = new ArrayList<>();
        List<TopicPartition> owned = new ArrayList<>();
    }

    public static void main(String[] arguments) {
        System.out.println("{\"kafka_clients\":\"" + AppInfoParser.getVersion() + "\"}");
        Random random = new Random(7);
        for (int group = 0; group < RANDOM_GROUPS; group++) {
            boolean alike = group % 2 == 0;
            Map<String, Integer> topics = topics(random);
            List<Member> members = new ArrayList<>();
            int count = 1 + random.nextInt(group % 10 == 9 ? 30 : 9);
            for (int i = 0; i < count; i++) members.add(member(random, topics, alike));
            deal(random, topics, members, group % 3);
            tell(topics, members);
        }
        // Groups that change step by step, each answer being what members own at the next one.
        for (int chain = 0; chain < CHAINS; chain++) {
            Map<String, Integer> topics = topics(random);
            boolean alike = chain % 2 == 0;
            List<Member> members = new ArrayList<>();
            for (int i = 0; i < 4; i++) members.add(member(random, topics, alike));
            for (int step = 0; step < 5; step++) {
                Map<String, List<TopicPartition>> answer = answer(ASSIGNORS[2 + chain / 2 % 2], topics, members);
                tell(topics, members);
                for (Member member : members) member.owned = answer.get(member.id);
                switch (random.nextInt(4)) {
                    case 0: members.add(member(random, topics, alike)); break;
                    case 1: if (members.size() > 1) members.remove(random.nextInt(members.size())); break;
                    case 2: topics.merge(topics.keySet().iterator().next(), 1 + random.nextInt(4), Integer::sum); break;
                    default:
                        members.remove(random.nextInt(members.size()));
                        members.add(member(random, topics, alike));
                }
                // A topic that nobody reads any more is none of the group's.
                Set<String> read = new HashSet<>();
                for (Member member : members) read.addAll(member.topics);
                topics.keySet().retainAll(read);
                for (Member member : members) member.owned.removeIf(place -> !topics.containsKey(place.topic()));
            }
        }
    }

    static Map<String, Integer> topics(Random random) {
        Map<String, Integer> topics = new TreeMap<>();
        int count = 1 + random.nextInt(5);
        for (int i = 0; i < count; i++) topics.put("t" + Integer.toString(random.nextInt(36 * 36), 36), 1 + random.nextInt(9));
        return topics;
    }

    static Member member(Random random, Map<String, Integer> topics, boolean alike) {
        Member member = new Member();
        member.id = "m-" + Long.toString(Math.abs(random.nextLong()), 36);
        for (String topic : topics.keySet()) if (alike || random.nextInt(3) > 0) member.topics.add(topic);
        if (member.topics.isEmpty()) member.topics.add(topics.keySet().iterator().next());
        return member;
    }

    /** What members own before: nothing, most of what there is dealt out at random, or most of it held by one of them. */
    static void deal(Random random, Map<String, Integer> topics, List<Member> members, int how) {
        if (how == 0) return;
        topics.forEach((topic, partitions) -> {
            for (int partition = 0; partition < partitions; partition++) {
                Member owner = members.get(how == 1 || random.nextInt(4) == 0 ? random.nextInt(members.size()) : 0);
                if (owner.topics.contains(topic) && random.nextInt(5) > 0) owner.owned.add(new TopicPartition(topic, partition));
            }
        });
    }

    @SuppressWarnings("removal")
    static Map<String, List<TopicPartition>> answer(String assignor, Map<String, Integer> topics, List<Member> members) {
        Map<String, Subscription> subscriptions = new HashMap<>();
        List<Member> sorted = new ArrayList<>(members);
        sorted.sort(Comparator.comparing(member -> member.id));
        Map<String, Integer> counts = new HashMap<>();
        for (Member member : sorted) {
            for (String topic : member.topics) counts.put(topic, topics.get(topic));
            ByteBuffer data = null;
            if (assignor.equals("sticky") && !member.owned.isEmpty()) {
                StickyAssignor own = new StickyAssignor();
                own.onAssignment(new Assignment(member.owned), new ConsumerGroupMetadata("group", GENERATION, member.id, Optional.empty()));
                data = own.subscriptionUserData(new HashSet<>(member.topics));
            }
            subscriptions.put(member.id, new Subscription(member.topics, data, member.owned, GENERATION, Optional.empty()));
        }
        List<PartitionInfo> partitions = new ArrayList<>();
        counts.forEach((topic, count) -> {
            for (int i = 0; i < count; i++) partitions.add(new PartitionInfo(topic, i, NODE, new Node[] {NODE}, new Node[] {NODE}));
        });
        Cluster cluster = new Cluster("cluster", List.of(NODE), partitions, Set.of(), Set.of());
        ConsumerPartitionAssignor of = switch (assignor) {
            case "range" -> new RangeAssignor();
            case "roundrobin" -> new RoundRobinAssignor();
            case "sticky" -> new StickyAssignor();
            default -> new CooperativeStickyAssignor();
        };
        Map<String, List<TopicPartition>> answer = new HashMap<>();
        of.assign(cluster, new GroupSubscription(subscriptions)).groupAssignment()
            .forEach((id, assignment) -> answer.put(id, new ArrayList<>(assignment.partitions())));
        return answer;
    }

    static void tell(Map<String, Integer> topics, List<Member> members) {
        StringBuilder line = new StringBuilder("{\"topics\":{");
        String comma = "";
        for (Map.Entry<String, Integer> topic : topics.entrySet()) {
            line.append(comma).append('"').append(topic.getKey()).append("\":").append(topic.getValue());
            comma = ",";
        }
        line.append("},\"members\":[");
        comma = "";
        List<Member> sorted = new ArrayList<>(members);
        sorted.sort(Comparator.comparing(member -> member.id));
        for (Member member : sorted) {
            line.append(comma).append("{\"id\":\"").append(member.id).append("\",\"topics\":\"").append(String.join(" ", member.topics));
            line.append("\",\"owned\":").append(places(member.owned)).append('}');
            comma = ",";
        }
        line.append("],\"answers\":{");
        comma = "";
        for (String assignor : ASSIGNORS) {
            line.append(comma).append('"').append(assignor).append("\":[");
            comma = "";
            Map<String, List<TopicPartition>> answer = answer(assignor, topics, members);
            for (Member member : sorted) {
                line.append(comma).append(places(answer.get(member.id)));
                comma = ",";
            }
            line.append(']');
        }
        System.out.println(line.append("}}"));
    }

    /** In the order of topics and partitions, as the order in an answer says nothing. */
    static String places(List<TopicPartition> places) {
        List<TopicPartition> sorted = new ArrayList<>(places);
        sorted.sort(Comparator.comparing(TopicPartition::topic).thenComparing(TopicPartition::partition));
        List<String> texts = new ArrayList<>();
        for (TopicPartition place : sorted) texts.add(place.toString());
        return "\"" + String.join(" ", texts) + "\"";
    }
}
