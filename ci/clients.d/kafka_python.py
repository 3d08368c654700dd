"""kafka-python, a client in pure Python, as ci/clients calls it.

    kafka_python.py produce BOOTSTRAP TOPIC CODEC < lines
    kafka_python.py consume BOOTSTRAP TOPIC > partition<TAB>value per record
"""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

PATIENCE_S = 60


def produce(bootstrap, topic, codec):
    codec = None if codec == "none" else codec
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type=codec, linger_ms=20)
    futures = [producer.send(topic, line.rstrip(b"\n")) for line in sys.stdin.buffer]
    producer.flush(PATIENCE_S)
    for future in futures:
        future.get(PATIENCE_S)
    producer.close()


def consume(bootstrap, topic):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(partitions)
    out = sys.stdout.buffer
    deadline = time.monotonic() + PATIENCE_S
    while any(consumer.position(p) < ends[p] for p in partitions):
        if time.monotonic() > deadline:
            sys.exit(f"not at the end after {PATIENCE_S} s without a record")
        for records in consumer.poll(1000, max_records=10_000).values():
            deadline = time.monotonic() + PATIENCE_S
            for record in records:
                out.write(b"%d\t%s\n" % (record.partition, record.value))
    out.flush()
    consumer.close()


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
