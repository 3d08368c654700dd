// What only Kafka's own Java client can tell: its defaults, what it ships, and how it behaves in a group.
//
// Run as one file by `java -cp JARS Facts.java BOOTSTRAP PREFIX`, which needs a JDK. Each look-up is one JSON line on stdout, and ends within a
// bounded time; one that fails says so in its line and the others go on. Topics and groups are called PREFIX something.

import java.io.File;
import java.lang.reflect.Modifier;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.jar.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.AppInfoParser;

public class Facts {
    /** A look-up that takes longer has failed. */
    static final long LOOK_UP_MS_MAX = 60_000;
    static final Duration POLL = Duration.ofMillis(100);

    static String bootstrap;
    static String prefix;

    interface LookUp {
        void into(Map<String, Object> line) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        prefix = arguments[1];
        look("consumer-defaults", line -> defaults(line, new ConsumerConfig(consumer(Map.of("group.id", prefix + "defaults")))));
        look("producer-defaults", line -> defaults(line, new ProducerConfig(producer())));
        look("assignors", Facts::assignors);
        look("topics", Facts::createTopics);
        look("keyless", Facts::keyless);
        look("late-commit", Facts::lateCommit);
        look("classic-group", line -> group(line, "classic"));
        look("consumer-group", line -> group(line, "consumer"));
        System.out.flush();
        // Threads of a client that did not close in time must not keep the process.
        Runtime.getRuntime().halt(0);
    }

    static void look(String name, LookUp lookUp) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("look_up", name);
        line.put("client", AppInfoParser.getVersion());
        try {
            lookUp.into(line);
        } catch (Throwable failure) {
            line.put("failure", failure.toString());
        }
        System.out.println(json(line));
        System.out.flush();
    }

    static String json(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        StringJoiner parts;
        if (value instanceof Map<?, ?> map) {
            parts = new StringJoiner(",", "{", "}");
            map.forEach((key, one) -> parts.add(json(String.valueOf(key)) + ":" + json(one)));
            return parts.toString();
        }
        if (value instanceof Collection<?> all) {
            parts = new StringJoiner(",", "[", "]");
            all.forEach(one -> parts.add(json(one)));
            return parts.toString();
        }
        StringBuilder text = new StringBuilder("\"");
        for (char c : String.valueOf(value).toCharArray()) {
            if (c == '"' || c == '\\') text.append('\\').append(c);
            else if (c < ' ' || c > '~') text.append(String.format("\\u%04x", (int) c));
            else text.append(c);
        }
        return text.append('"').toString();
    }

    static Map<String, Object> producer() {
        return new HashMap<>(Map.of(
            "bootstrap.servers", bootstrap,
            "key.serializer", ByteArraySerializer.class,
            "value.serializer", ByteArraySerializer.class));
    }

    static Map<String, Object> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of(
            "bootstrap.servers", bootstrap,
            "key.deserializer", ByteArrayDeserializer.class,
            "value.deserializer", ByteArrayDeserializer.class));
        all.putAll(settings);
        return all;
    }

    /** The values in force when an application sets nothing but the address, the serializers and its group. */
    static void defaults(Map<String, Object> line, AbstractConfig config) {
        Map<String, Object> values = new TreeMap<>();
        config.values().forEach((name, value) -> values.put(name, value == null ? null : String.valueOf(value)));
        line.put("values", values);
    }

    /** Every assignor in the jar of the client. */
    static void assignors(Map<String, Object> line) throws Exception {
        File jar = new File(ConsumerConfig.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        List<String> names = new ArrayList<>();
        try (JarFile file = new JarFile(jar)) {
            for (JarEntry entry : Collections.list(file.entries())) {
                String path = entry.getName();
                if (!path.startsWith("org/apache/kafka/clients/consumer/") || !path.endsWith(".class")) continue;
                Class<?> found = Class.forName(path.replace('/', '.').substring(0, path.length() - 6), false, Facts.class.getClassLoader());
                if (ConsumerPartitionAssignor.class.isAssignableFrom(found) && !Modifier.isAbstract(found.getModifiers()))
                    names.add(found.getSimpleName());
            }
        }
        Collections.sort(names);
        line.put("jar", jar.getName());
        line.put("names", names);
    }

    static void createTopics(Map<String, Object> line) throws Exception {
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(
                new NewTopic(prefix + "keyless", 4, (short) 1),
                new NewTopic(prefix + "group", 2, (short) 1))).all().get(LOOK_UP_MS_MAX, TimeUnit.MILLISECONDS);
        }
    }

    /** The partitions that records without a key go to, in the order in which they are sent. */
    static void keyless(Map<String, Object> line) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<Integer> partitions = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(producer())) {
            producer.partitionsFor(prefix + "keyless");
            for (int record = 0; record < 100; record++)
                sent.add(producer.send(new ProducerRecord<>(prefix + "keyless", new byte[100])));
            for (Future<RecordMetadata> one : sent)
                partitions.add(one.get(LOOK_UP_MS_MAX, TimeUnit.MILLISECONDS).partition());
        }
        line.put("topic_partitions", 4);
        line.put("partitions", partitions);
    }

    /** Commits in time, then once more after max.poll.interval.ms has taken the consumer out of its group. */
    static void lateCommit(Map<String, Object> line) throws Exception {
        long deadline = System.currentTimeMillis() + LOOK_UP_MS_MAX;
        String topic = prefix + "group";
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(producer())) {
            for (int record = 0; record < 2; record++)
                producer.send(new ProducerRecord<>(topic, record, null, new byte[10])).get(LOOK_UP_MS_MAX, TimeUnit.MILLISECONDS);
        }
        String group = prefix + "late";
        Map<String, Object> settings = Map.of(
            "group.id", group, "max.poll.interval.ms", 1000, "enable.auto.commit", false, "auto.offset.reset", "earliest");
        line.put("max_poll_interval_ms", 1000);
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap));
             KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(consumer(settings))) {
            consumer.subscribe(List.of(topic));
            while (consumer.poll(POLL).isEmpty()) before(deadline, "no record came");
            line.put("in_time", commit(consumer));
            // The client itself leaves when its time is over: the broker says when it is gone.
            while (!members(admin, group).isEmpty()) {
                before(deadline, "the consumer stays in its group");
                Thread.sleep(50);
            }
            line.put("late", commit(consumer));
        }
    }

    /** Name of the exception, or null after a commit that succeeded. */
    static String commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync(Duration.ofSeconds(20));
            return null;
        } catch (Exception failure) {
            return failure.getClass().getName() + ": " + failure.getMessage();
        }
    }

    static Collection<MemberDescription> members(Admin admin, String group) throws Exception {
        return describe(admin, group).members();
    }

    static ConsumerGroupDescription describe(Admin admin, String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get(LOOK_UP_MS_MAX, TimeUnit.MILLISECONDS).get(group);
    }

    static void before(long deadline, String complaint) {
        if (System.currentTimeMillis() > deadline) throw new IllegalStateException(complaint + " within " + LOOK_UP_MS_MAX + " ms");
    }

    /** Range, and says which client was asked to assign. */
    public static class Recording extends RangeAssignor implements Configurable {
        static final List<String> calls = Collections.synchronizedList(new ArrayList<>());
        private String client;

        @Override public void configure(Map<String, ?> settings) {
            client = String.valueOf(settings.get("client.id"));
        }

        @Override public String name() {
            return "recording";
        }

        @Override public GroupAssignment assign(Cluster cluster, GroupSubscription subscription) {
            calls.add(client);
            return super.assign(cluster, subscription);
        }
    }

    /** Two members share two partitions: which of the clients was asked to assign them? */
    static void group(Map<String, Object> line, String protocol) throws Exception {
        long deadline = System.currentTimeMillis() + LOOK_UP_MS_MAX;
        Recording.calls.clear();
        String group = prefix + protocol;
        Map<String, Object> settings = new HashMap<>(Map.of("group.id", group, "group.protocol", protocol, "enable.auto.commit", false));
        Map<String, Object> recording = new HashMap<>(settings);
        recording.put("partition.assignment.strategy", List.of(Recording.class));
        // A protocol that leaves nothing to the clients refuses the setting.
        line.put("own_assignor_refused", null);
        try (KafkaConsumer<byte[], byte[]> probe = new KafkaConsumer<>(consumer(recording))) {
            settings = recording;
        } catch (KafkaException refusal) {
            Throwable cause = refusal.getCause() == null ? refusal : refusal.getCause();
            line.put("own_assignor_refused", cause.getMessage());
        }
        Map<String, Collection<Integer>> assigned = new TreeMap<>();
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap));
             KafkaConsumer<byte[], byte[]> first = member(settings, "first");
             KafkaConsumer<byte[], byte[]> second = member(settings, "second")) {
            do {
                before(deadline, "the two members do not share the partitions: " + assigned);
                first.poll(POLL);
                second.poll(POLL);
                assigned.put("first", partitions(first));
                assigned.put("second", partitions(second));
            } while (assigned.values().stream().anyMatch(own -> own.size() != 1));
            ConsumerGroupDescription description = describe(admin, group);
            line.put("group_type", String.valueOf(description.type()));
            line.put("assignor", description.partitionAssignor());
            line.put("assigned", assigned);
            line.put("asked", new ArrayList<>(Recording.calls));
        }
    }

    static KafkaConsumer<byte[], byte[]> member(Map<String, Object> settings, String name) {
        Map<String, Object> all = consumer(settings);
        all.put("client.id", name);
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(all);
        consumer.subscribe(List.of(prefix + "group"));
        return consumer;
    }

    static Collection<Integer> partitions(KafkaConsumer<byte[], byte[]> consumer) {
        TreeSet<Integer> numbers = new TreeSet<>();
        consumer.assignment().forEach(partition -> numbers.add(partition.partition()));
        return numbers;
    }
}
