"""librdkafka by confluent-kafka, as ci/clients calls it.

    confluent.py create  BOOTSTRAP TOPIC PARTITIONS
    confluent.py produce BOOTSTRAP TOPIC CODEC < lines
    confluent.py consume BOOTSTRAP TOPIC > partition<TAB>value per record
    confluent.py member  BOOTSTRAP TOPIC GROUP > partition<TAB>offset<TAB>value per record, until SIGTERM

A member joins by KIP-848's protocol; a TOPIC that begins with ^ is a pattern, which the broker matches.
"""

import signal
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S = 60


def create(bootstrap, topic, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, int(partitions))])[topic].result(PATIENCE_S)


def produce(bootstrap, topic, codec):
    failures = []

    def delivered(error, _message):
        if error is not None:
            failures.append(error)

    settings = {
        "bootstrap.servers": bootstrap,
        "compression.type": codec,
        "enable.idempotence": True,
        # Records go to any partition and not to the one of the moment: all partitions get some, however fast this is.
        "sticky.partitioning.linger.ms": 0,
    }
    producer = Producer(settings)
    for line in sys.stdin.buffer:
        value = line.rstrip(b"\n")
        while True:
            try:
                producer.produce(topic, value, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(1)
        producer.poll(0)
    waiting = producer.flush(PATIENCE_S)
    if waiting or failures:
        sys.exit(f"{waiting} records wait, {len(failures)} failed: {failures[:1]}")


def consume(bootstrap, topic):
    # The client insists on a group.id; no group is used, as partitions are assigned and nothing is committed.
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "not-used",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    consumer = Consumer(settings)
    partitions = sorted(consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    open_partitions = set(partitions)
    out = sys.stdout.buffer
    while open_partitions:
        message = consumer.poll(PATIENCE_S)
        if message is None:
            sys.exit(f"nothing for {PATIENCE_S} s, partitions {open_partitions} have not ended")
        error = message.error()
        if error is None:
            out.write(b"%d\t%s\n" % (message.partition(), message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        elif error.code() != KafkaError.UNSUPPORTED_VERSION or "FindCoordinator" not in error.str():
            raise KafkaException(error)
    out.flush()
    consumer.close()


def member(bootstrap, topic, group):
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "group.protocol": "consumer",
        "auto.offset.reset": "earliest",
        "auto.commit.interval.ms": 200,
        "enable.auto.offset.store": False,
    }
    consumer = Consumer(settings)
    is_over = []
    signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))
    consumer.subscribe([topic])
    out = sys.stdout.buffer
    while not is_over:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error() is not None:
            raise KafkaException(message.error())
        # Written first: what is committed must have been read.
        out.write(b"%d\t%d\t%s\n" % (message.partition(), message.offset(), message.value()))
        out.flush()
        consumer.store_offsets(message)
    consumer.close()


if __name__ == "__main__":
    {"create": create, "produce": produce, "consume": consume, "member": member}[sys.argv[1]](*sys.argv[2:])
