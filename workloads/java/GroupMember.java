// What a member of workloads/src/member/work.rs does, but for what is Java's own: `max.poll.records` is the client's, rebalances come as calls
// out of `poll`, with no batch in hand, and a client that commits by itself commits with the next `poll` what the last one handed over.

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.lang.management.*;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Pattern;
import java.util.stream.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.Errors;

/** One member, on a thread of its own. */
final class GroupMember implements ConsumerRebalanceListener, Runnable {
    /** How long a poll waits for a first record. */
    static final Duration WAIT = Duration.ofMillis(50);
    /** Between two looks at the epoch, and between two notes of how far it is. */
    static final long NOTE_EVERY_NS = 200_000_000;
    /** How long closing may take: a commit and a leave, if the broker answers. */
    static final Duration CLOSE_WITHIN = Duration.ofSeconds(8);
    /** Orders that wait for a member. */
    static final int ORDERS_MAX = 64;
    /** Room for the numbers of one topic's partitions in a history. */
    static final int PARTITIONS_PER_TOPIC = 1 << 16;
    /** In a history: no answer is known. */
    static final int CODE_CONNECTION = -100;
    /** librdkafka's code for a poll interval that was exceeded, which Java has no code for. */
    static final int MAX_POLL_EXCEEDED = -147;

    final JsonNode spec;
    final int number;
    final String commits;
    final List<String> topics = new ArrayList<>();
    final BlockingQueue<JsonNode> orders = new ArrayBlockingQueue<>(ORDERS_MAX);
    final History history;
    final KafkaConsumer<byte[], byte[]> consumer;
    /** Nobody can order anything any more. */
    volatile boolean isOver;
    volatile Throwable failure;

    JsonNode handler;
    long stickMs;
    /** Generation or member epoch as the client knows it; answers to its own commits may come on a thread of the client. */
    volatile int epoch = -1;
    int toldEpoch = -1, seenEpoch = -1;
    boolean isByPattern, isClosing, isBroken;
    long nextNoteNs, nextLookNs, polledNs, betweenPollsNs;
    long polledCount, processedCount;
    final SortedSet<Integer> held = new TreeSet<>();
    /** Next record to process, of partitions in its hands, and what the group has accepted of these. */
    final SortedMap<Integer, Long> processed = new TreeMap<>(), committed = new TreeMap<>();
    /** Codes of refused commits whose first one was printed. */
    final Set<Integer> printed = new HashSet<>();
    /** Partitions whose position was not told yet. */
    final SortedSet<Integer> untold = new TreeSet<>();

    GroupMember(String brokers, JsonNode spec) throws IOException {
        this.spec = spec;
        number = spec.get("member").asInt();
        commits = spec.get("planted").isNull() ? spec.get("commits").asText() : "before-processing";
        handler = spec.get("handler");
        spec.get("topics").forEach(topic -> topics.add(topic.asText()));
        history = new History(Path.of(spec.get("history").asText()), number);
        consumer = new KafkaConsumer<>(Client.properties(brokers, this));
    }

    boolean isAuto() {
        return commits.equals("auto-at-hand-over");
    }

    boolean isKip848() {
        return spec.get("protocol").asText().equals("consumer");
    }

    /** Works until it is told to leave, or nobody can tell it anything any more; then it closes. */
    @Override public void run() {
        try {
            history.write(new Event(Event.BEGAN, 0, 0, spec.get("slot").asInt(), 0, ProcessHandle.current().pid(), 0, 0));
            subscribe(spec.get("subscription"));
            polledNs = System.nanoTime();
            while (!isBroken && !isOver && follow(orders.poll())) turn();
            history.write(new Event(Event.LEFT, 0, 0, 0, 0, 0, 0, 0));
            isClosing = true;
            close();
            notePositions();
            note("left");
            history.finish();
        } catch (Throwable thrown) {
            failure = thrown;
            Worker.say(Map.of("event", "error", "message", "member " + number + ": " + Worker.words(thrown)));
        }
    }

    /** Does what it is told; false when that is to leave. */
    boolean follow(JsonNode order) {
        if (order == null) return true;
        switch (order.get("do").asText()) {
            case "leave" -> {
                return false;
            }
            case "subscribe" -> {
                subscribe(order.get("topics"));
                note("subscribed");
            }
            case "handler" -> handler = order.get("handler");
            case "stick" -> stickMs = order.get("for_ms").asLong();
            default -> throw new IllegalArgumentException("the command " + order + " can't be followed");
        }
        return true;
    }

    /** Java takes names, or one pattern, and changes from one to the other only for those who leave the group in between. */
    void subscribe(JsonNode wanted) {
        List<String> all = new ArrayList<>();
        wanted.forEach(one -> all.add(one.asText()));
        boolean hasPattern = all.stream().anyMatch(one -> one.startsWith("^"));
        if (hasPattern != isByPattern) consumer.unsubscribe();
        isByPattern = hasPattern;
        if (!hasPattern) {
            consumer.subscribe(all, this);
            return;
        }
        Stream<String> parts = all.stream().map(one -> one.startsWith("^") ? one : Pattern.quote(one));
        String pattern = parts.collect(Collectors.joining("|"));
        if (isKip848()) consumer.subscribe(new SubscriptionPattern(pattern), this);
        else consumer.subscribe(Pattern.compile(pattern), this);
    }

    /** Polls, hands over what came, and tells how far it is. Rebalances come as calls out of the poll. */
    void turn() {
        // From here on the client may commit by itself what it handed over with the last poll.
        if (isAuto()) called(uncommitted(held));
        betweenPollsNs = System.nanoTime() - polledNs;
        List<Delivery> batch = new ArrayList<>();
        try {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(WAIT))
                batch.add(Delivery.of(numberOf(record.topic(), record.partition()), record));
        } catch (KafkaException thrown) {
            failed(Errors.forException(thrown).code(), true, Worker.words(thrown));
        }
        polledNs = System.nanoTime();
        if (!batch.isEmpty()) handOver(batch);
        lookAround();
    }

    void handOver(List<Delivery> batch) {
        List<Event> runs = new ArrayList<>();
        for (Delivery record : batch) {
            Event last = runs.isEmpty() ? null : runs.get(runs.size() - 1);
            if (last != null && record.follows(last)) runs.set(runs.size() - 1, last.longer());
            else runs.add(record.polled(epoch));
        }
        history.write(runs);
        polledCount += batch.size();
        SortedMap<Integer, Long> ends = new TreeMap<>();
        batch.forEach(record -> ends.put(record.partition(), record.offset() + 1));
        if (commits.equals("before-processing")) commit(ends);
        spend(handler.get("per_batch_us").asLong());
        if (stickMs > 0) {
            spend(stickMs * 1_000);
            note(Map.of("stuck", Map.of("for_ms", stickMs)));
            stickMs = 0;
        }
        for (int from = 0, to; from < batch.size(); from = to) {
            for (to = from + 1; to < batch.size() && batch.get(to - 1).isBefore(batch.get(to)); ) to++;
            handle(batch.get(from), to - from);
        }
        if (commits.equals("sync-per-batch")) commit(ends);
        if (commits.equals("async-per-batch")) beginCommit(ends);
    }

    /** Handles records with dense offsets: one by one where each takes time or is committed apart, else all at once. */
    void handle(Delivery first, int count) {
        long perRecordUs = handler.get("per_record_us").asLong();
        boolean isApart = perRecordUs > 0 || commits.equals("sync-per-record");
        for (int step = 0; step < count; step += isApart ? 1 : count) {
            spend(perRecordUs);
            int done = isApart ? 1 : count;
            history.write(new Event(Event.PROCESSED, first.partition(), first.offset() + step, done, 0, 0, epoch, 0));
            processedCount += done;
            long next = first.offset() + step + done;
            processed.put(first.partition(), next);
            untold.add(first.partition());
            if (commits.equals("sync-per-record")) commit(new TreeMap<>(Map.of(first.partition(), next)));
            notePositionsInTime();
        }
    }

    void spend(long us) {
        if (us == 0) return;
        if (handler.get("burns").asBoolean()) {
            ThreadMXBean clocks = ManagementFactory.getThreadMXBean();
            long end = clocks.getCurrentThreadCpuTime() + us * 1_000;
            while (clocks.getCurrentThreadCpuTime() < end) Thread.onSpinWait();
        } else {
            long end = System.nanoTime() + us * 1_000;
            for (long left = us * 1_000; left > 0; left = end - System.nanoTime()) LockSupport.parkNanos(left);
        }
    }

    @Override public void onPartitionsAssigned(Collection<TopicPartition> places) {
        learnEpoch();
        List<Integer> given = numbers(places);
        history.write(given.stream().map(one -> new Event(Event.ASSIGNED, one, -1, 0, 0, 0, epoch, 0)).toList());
        held.addAll(given);
        hasRebalanced();
    }

    @Override public void onPartitionsRevoked(Collection<TopicPartition> places) {
        List<Integer> taken = numbers(places);
        if (!isAuto() && !commits.equals("before-processing")) commit(uncommitted(taken));
        taken(Event.REVOKED, taken);
    }

    @Override public void onPartitionsLost(Collection<TopicPartition> places) {
        // The client left the group while its application worked, and tells it no sooner and in no other way.
        if (betweenPollsNs > spec.get("times").get("max_poll_interval_ms").asLong() * 1_000_000)
            failed(MAX_POLL_EXCEEDED, false, "the time between two polls was longer than max.poll.interval.ms");
        taken(Event.LOST, numbers(places));
    }

    void taken(int kind, List<Integer> partitions) {
        history.write(partitions.stream().map(one -> new Event(kind, one, 0, 0, 0, 0, epoch, 0)).toList());
        notePositions();
        partitions.forEach(held::remove);
        processed.keySet().removeAll(partitions);
        committed.keySet().removeAll(partitions);
        learnEpoch();
        hasRebalanced();
    }

    /** Asks the client for its epoch. One that closes has none that matters. */
    void learnEpoch() {
        if (!isClosing) epoch = consumer.groupMetadata().generationId();
    }

    void hasRebalanced() {
        history.write(new Event(Event.REBALANCED, 0, 0, held.size(), 0, 0, epoch, 0));
        toldEpoch = epoch;
        note(Map.of("rebalanced", Map.of("epoch", epoch, "partitions", held.size())));
    }

    /** Looks now and then whether the group has moved on without asking anything of this member. An epoch counts that was seen twice. */
    void lookAround() {
        if (System.nanoTime() - nextLookNs >= 0) {
            nextLookNs = System.nanoTime() + NOTE_EVERY_NS;
            learnEpoch();
            if (epoch != toldEpoch && epoch == seenEpoch) hasRebalanced();
            seenEpoch = epoch;
        }
        notePositionsInTime();
    }

    void failed(int code, boolean isFatal, String message) {
        history.write(new Event(Event.FAILED, 0, 0, 0, 0, 0, epoch, code));
        isBroken |= isFatal;
        note(Map.of("failed", Map.of("code", code, "is_fatal", isFatal, "message", message)));
    }

    SortedMap<Integer, Long> uncommitted(Collection<Integer> partitions) {
        SortedMap<Integer, Long> open = new TreeMap<>(processed);
        open.keySet().retainAll(partitions);
        open.entrySet().removeIf(one -> one.getValue().equals(committed.get(one.getKey())));
        return open;
    }

    /** Commits and waits. */
    void commit(SortedMap<Integer, Long> offsets) {
        if (offsets.isEmpty()) return;
        learnEpoch();
        called(offsets);
        KafkaException failure = null;
        try {
            consumer.commitSync(places(offsets));
        } catch (KafkaException thrown) {
            failure = thrown;
        }
        answered(offsets, failure);
    }

    /** Commits without waiting; the answer comes out of a later poll. */
    void beginCommit(SortedMap<Integer, Long> offsets) {
        called(offsets);
        consumer.commitAsync(places(offsets), (places, failure) -> answered(offsets, failure));
    }

    void called(SortedMap<Integer, Long> offsets) {
        history.write(offsets.entrySet().stream()
            .map(one -> new Event(Event.COMMIT_CALLED, one.getKey(), one.getValue(), 0, 0, 0, epoch, 0)).toList());
        // It is told once; whether the client has really done it is told by its interceptor.
        if (isAuto()) committed.putAll(offsets);
    }

    void answered(SortedMap<Integer, Long> offsets, Exception failure) {
        int code = codeOf(failure);
        history.write(offsets.entrySet().stream()
            .map(one -> new Event(Event.COMMITTED, one.getKey(), one.getValue(), 0, 0, 0, epoch, code)).toList());
        // A code says less than the client does.
        if (code != 0 && printed.add(code))
            System.err.println("member " + number + ": a first commit that ended with code " + code + ": " + Worker.words(failure));
        if (code == 0) offsets.forEach((partition, offset) -> {
            if (held.contains(partition)) committed.put(partition, offset);
        });
    }

    /** What a history holds of an error. Java has one exception for whoever is no member of the generation any more, asked or not. */
    static int codeOf(Exception failure) {
        if (failure == null) return 0;
        if (failure instanceof CommitFailedException) return Errors.UNKNOWN_MEMBER_ID.code();
        Errors known = Errors.forException(failure);
        return failure instanceof RetriableException || known == Errors.UNKNOWN_SERVER_ERROR ? CODE_CONNECTION : known.code();
    }

    void close() {
        if (isAuto()) called(uncommitted(held));
        try {
            consumer.close(CloseOptions.timeout(CLOSE_WITHIN));
        } catch (KafkaException thrown) {
            failed(Errors.forException(thrown).code(), false, Worker.words(thrown));
        }
    }

    int numberOf(String topic, int partition) {
        int place = topics.indexOf(topic);
        if (place < 0) throw new IllegalStateException(topic + " is no topic of the workload");
        return place * PARTITIONS_PER_TOPIC + partition;
    }

    List<Integer> numbers(Collection<TopicPartition> places) {
        return places.stream().map(place -> numberOf(place.topic(), place.partition())).sorted().toList();
    }

    Map<TopicPartition, OffsetAndMetadata> places(SortedMap<Integer, Long> offsets) {
        Map<TopicPartition, OffsetAndMetadata> places = new HashMap<>();
        offsets.forEach((number, offset) -> places.put(
            new TopicPartition(topics.get(number / PARTITIONS_PER_TOPIC), number % PARTITIONS_PER_TOPIC), new OffsetAndMetadata(offset)));
        return places;
    }

    void notePositionsInTime() {
        if (System.nanoTime() - nextNoteNs < 0) return;
        nextNoteNs = System.nanoTime() + NOTE_EVERY_NS;
        notePositions();
    }

    void notePositions() {
        List<List<Long>> positions = new ArrayList<>();
        processed.forEach((partition, next) -> {
            if (untold.contains(partition)) positions.add(List.of((long) partition, next));
        });
        untold.clear();
        if (!positions.isEmpty())
            note(Map.of("counts", Map.of("polled", polledCount, "processed", processedCount, "positions", positions)));
    }

    void note(Object told) {
        Worker.say(Map.of("event", "member", "member", number, "told", told));
    }
}
