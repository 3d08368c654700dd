// What a member writes down, in the layout of workloads/src/history/record.rs, and the records that it writes of.

import java.io.*;
import java.nio.*;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.List;
import java.util.zip.CRC32C;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** A record that was handed over; whose it is when its checksum matches and it stands where it was written to. */
record Delivery(int partition, long offset, boolean isKnown, long producer, long sequence) {
    /** Smallest record: producer, partition, sequence, checksum. */
    static final int BYTES_MIN = 24;

    static Delivery of(int partition, ConsumerRecord<byte[], byte[]> record) {
        byte[] value = record.value();
        boolean isKnown = false;
        long producer = 0, sequence = 0;
        if (value != null && value.length >= BYTES_MIN) {
            CRC32C checksum = new CRC32C();
            checksum.update(value, 0, value.length - 4);
            ByteBuffer bytes = ByteBuffer.wrap(value);
            isKnown = (int) checksum.getValue() == bytes.getInt(value.length - 4) && bytes.getInt(8) == partition;
            producer = bytes.getLong(0);
            sequence = bytes.getLong(12);
        }
        return new Delivery(partition, record.offset(), isKnown, producer, sequence);
    }

    Event polled(int epoch) {
        if (!isKnown) return new Event(Event.CORRUPTED, partition, offset, 1, 0, 0, 0, 0);
        return new Event(Event.POLLED, partition, offset, 1, producer, sequence, epoch, 0);
    }

    boolean follows(Event run) {
        return isKnown && run.kind() == Event.POLLED && run.partition() == partition && run.offset() + run.count() == offset
            && run.producer() == producer && run.sequence() + run.count() == sequence;
    }

    boolean isBefore(Delivery next) {
        return next.partition == partition && next.offset == offset + 1;
    }
}

/** An event of a history, as flat as it is written there. */
record Event(int kind, int partition, long offset, int count, long producer, long sequence, int epoch, int code) {
    static final int CORRUPTED = 7, FINISHED = 15, BEGAN = 19, ASSIGNED = 20, REVOKED = 21, LOST = 22, REBALANCED = 23, POLLED = 24,
        PROCESSED = 25, COMMIT_CALLED = 26, COMMITTED = 27, FAILED = 28, LEFT = 29;

    Event longer() {
        return new Event(kind, partition, offset, count + 1, producer, sequence, epoch, code);
    }
}

/** A member's history: each call is a write(2), or a few when there are very many events. */
final class History {
    static final int RECORD_BYTES = 56, VERSION = 2, AT_ONCE_MAX = 1_024;

    private final FileChannel file;
    private final int member;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(RECORD_BYTES * AT_ONCE_MAX).order(ByteOrder.LITTLE_ENDIAN);
    private long events;

    History(Path path, int member) throws IOException {
        this.member = member;
        file = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.APPEND);
        buffer.put("ASSAYHIS".getBytes(StandardCharsets.US_ASCII)).putInt(VERSION).putInt(RECORD_BYTES);
        buffer.putInt((int) ProcessHandle.current().pid()).position(RECORD_BYTES);
        flush();
    }

    void write(Event event) {
        write(List.of(event));
    }

    synchronized void write(List<Event> told) {
        // CLOCK_MONOTONIC on Linux, as of every process of the run.
        long atNs = System.nanoTime();
        for (Event event : told) {
            if (!buffer.hasRemaining()) flush();
            put(atNs, event);
        }
        if (buffer.position() > 0) flush();
        events += told.size();
    }

    /** Says that nothing is missing. */
    void finish() {
        write(new Event(Event.FINISHED, 0, 0, 0, 0, events, 0, 0));
    }

    private void put(long atNs, Event event) {
        int from = buffer.position();
        buffer.putLong(atNs).putLong(event.sequence()).putLong(event.offset()).putLong(event.producer()).putInt(event.partition());
        buffer.putInt(event.count()).putInt(member).putInt(event.epoch()).put((byte) event.kind()).put((byte) 0).putShort((short) event.code());
        CRC32C checksum = new CRC32C();
        checksum.update(buffer.slice(from, buffer.position() - from));
        buffer.putInt((int) checksum.getValue());
    }

    private void flush() {
        try {
            for (buffer.flip(); buffer.hasRemaining(); ) file.write(buffer);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
        buffer.clear();
    }
}
