"""The table's stream, and its delivery to functions as Lambda's documentation describes it.

A table has two stream shards; the hash of the partition key chooses one. Events have the form of a window of time
("Implementing stateful DynamoDB stream processing in Lambda"), because only these name the stream shard. Time passes
faster here: a batching window of 5 s lasts 5 s / pace.

On AWS a batch can arrive more than once, and then also later than its successor. Here that happens with a given chance.
"""

import collections
import datetime
import hashlib
import json
import math
import random
import threading
import time

from moto.awslambda.models import lambda_backends
from moto.dynamodb.models.utilities import dynamo_json_dump

import iam
import lambdas

SHARDS = 2
SHARD_IDS = [f"shardId-0000000179{number}000000000-{hashlib.sha256(bytes([number])).hexdigest()[:8]}" for number in range(SHARDS)]
# Sequence numbers have 21 digits or more.
FIRST_SEQUENCE = 100_000_000_000_000_000_000
# What Lambda asks the stream for, in the function's name.
READS = ("ListStreams", "DescribeStream", "GetShardIterator", "GetRecords")
MOST_STATE_BYTES, MOST_EVENT_BYTES = 1_000_000, 6_000_000
RETRY_AFTER_S = 0.1


class Log:
    """Every change of every table that has a stream. A change counts only when its request is done."""

    def __init__(self):
        self.changed = threading.Condition()
        self._records, self._pending, self._next = collections.defaultdict(list), [], FIRST_SEQUENCE

    def add(self, table, old, new):
        """Called by moto, in the middle of a request."""
        images = [json.loads(dynamo_json_dump(item.to_json()["Attributes"])) if item else None for item in (old, new)]
        self._pending.append((table, *images))

    def end(self, is_done):
        """The request is over: moto has kept its changes, or taken them back."""
        pending, self._pending = self._pending, []
        with self.changed:
            for table, old, new in _by_item(pending) if is_done else ():
                if old == new:  # a write that changes nothing gives no record
                    continue
                self._next += 1
                arn = f"{table.table_arn}/stream/{table.latest_stream_label}"
                made = record(table, arn, old, new, self._next)
                partition = json.dumps(made["dynamodb"]["Keys"][table.hash_key_attr])
                self._records[arn, shard_of(partition)].append(made)
            self.changed.notify_all()

    def records(self, arn, shard, after):
        """The records of a stream shard from a position on."""
        return self._records[arn, shard][after:]


def _by_item(changes):
    """One change of each item. Moto makes a new item of an update in two steps: first with its keys alone."""
    merged = {}
    for table, old, new in changes:
        some = new or old
        item = table.table_arn, *(json.dumps(some.get(name)) for name in (table.hash_key_attr, table.range_key_attr))
        before = merged[item][1] if item in merged else old
        merged[item] = table, before, new
    return merged.values()


def shard_of(partition):
    return hashlib.sha256(partition.encode()).digest()[0] % SHARDS


def record(table, arn, old, new, sequence):
    some = new or old
    keys = {name: some[name] for name in (table.hash_key_attr, table.range_key_attr) if name}
    change = {
        "ApproximateCreationDateTime": math.floor(time.time()) * 1.0,
        "Keys": keys,
        **({"NewImage": new} if new else {}),
        **({"OldImage": old} if old else {}),
        "SequenceNumber": str(sequence),
        "SizeBytes": len(json.dumps([old, new])),
        "StreamViewType": table.stream_specification["StreamViewType"],
    }
    return {
        "eventID": hashlib.md5(str(sequence).encode()).hexdigest(),
        "eventName": "INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": table.region_name,
        "dynamodb": change,
        "eventSourceARN": arn,
    }


def passes(criteria, one):
    """Whether a record passes the filters of an event source mapping. One of them is enough."""
    filters = (criteria or {}).get("Filters", [])
    return not filters or any(_matches(json.loads(rule["Pattern"]), one) for rule in filters)


def _matches(pattern, value):
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_matches(inner, value.get(name)) for name, inner in pattern.items())
    for rule in pattern:
        if isinstance(rule, dict) and set(rule) != {"prefix"}:
            raise iam.Unreadable(f"filter {rule}")
        if value is not None and (value.startswith(rule["prefix"]) if isinstance(rule, dict) else value == rule):
            return True
    return False


class Delivery:
    """Reads the stream for each event source mapping that Terraform made."""

    def __init__(self, log, functions, region, pace=1.0, repeats=0.0, seed=0):
        self._log, self._functions, self._region, self._pace = log, functions, region, pace
        self.repeats, self._dice = repeats, random.Random(seed)
        self.counts = collections.Counter(batches=0, repeated=0, failed=0, finals=0, denied=0)
        self._positions, self._is_over, self._readers = {}, threading.Event(), {}

    def start(self):
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self):
        self._is_over.set()

    def status(self):
        """The counts, and the number of records that no function has acknowledged yet."""
        waiting = 0
        for mapping in self._mappings():
            for shard in range(SHARDS):
                rest = self._log.records(mapping.event_source_arn, shard, self._positions.get((mapping.uuid, shard), 0))
                waiting += sum(passes(mapping.filter_criteria, one) for one in rest)
        return {"waiting": waiting, **self.counts}

    def _mappings(self):
        known = lambda_backends[iam.ACCOUNT][self._region].list_event_source_mappings("", "")
        return [mapping for mapping in known if mapping.enabled and ":dynamodb:" in mapping.event_source_arn]

    def _watch(self):
        readers = set()
        while not self._is_over.wait(0.05):
            for mapping in self._mappings():
                if mapping.uuid not in readers:
                    readers.add(mapping.uuid)
                    for shard in range(SHARDS):
                        threading.Thread(target=self._read, args=(mapping, shard), daemon=True).start()

    def _is_on(self, mapping):
        return not self._is_over.is_set() and any(mapping is known for known in self._mappings())

    def _read(self, mapping, shard):
        """Reads one stream shard from its beginning, in order. It goes on only after a batch is acknowledged."""
        place, late = (mapping.uuid, shard), None
        window = Window(mapping, self._pace)
        self._positions[place] = 0
        while self._is_on(mapping):
            batch, read = self._collect(mapping, shard, window)
            if batch:
                self._deliver(mapping, shard, window, batch)
                if late:
                    self._repeat(mapping, shard, window, late)
                    late = None
                if self._dice.random() < self.repeats:
                    if self._dice.random() < 0.5:
                        self._repeat(mapping, shard, window, batch)
                    else:
                        late = batch
            self._positions[place] += read
            if not batch and not read and window.is_over():
                self._deliver(mapping, shard, window, [], is_final=True)
                window.close()

    def _collect(self, mapping, shard, window):
        """The next batch, and how many records it and the filtered ones are."""
        after = self._positions[mapping.uuid, shard]
        begun = None
        while self._is_on(mapping):
            records = self._log.records(mapping.event_source_arn, shard, after)
            batch, read, size = [], 0, 0
            for one in records:
                size += len(json.dumps(one))
                if len(batch) == mapping.batch_size or (batch and size > MOST_EVENT_BYTES) or not window.holds(one):
                    break
                read += 1
                if passes(mapping.filter_criteria, one):
                    batch.append(one)
            if records and not read:
                return [], 0  # all belong to the next window
            if read and not batch:
                return [], read
            begun = begun or (time.monotonic() if batch else None)
            waits_s = float(mapping.max_batch_window or 0) / self._pace
            if batch and (len(batch) == mapping.batch_size or time.monotonic() - begun >= waits_s):
                return batch, read
            if window.is_over() and not batch:
                return [], 0
            with self._log.changed:
                self._log.changed.wait(min(0.05, max(waits_s / 4, 0.005)))
        return [], 0

    def _repeat(self, mapping, shard, window, batch):
        self.counts["repeated"] += 1
        self._deliver(mapping, shard, window, batch)

    def _deliver(self, mapping, shard, window, batch, is_final=False):
        """Invokes the function until it acknowledges the batch: the same records, in the same order."""
        event = window.event(batch, SHARD_IDS[shard], mapping.event_source_arn, is_final)
        tries = 0
        while self._is_on(mapping):
            tries += 1
            state = self._invoke(mapping, event)
            if state is not None:
                self.counts["finals" if is_final else "batches"] += 1
                window.keep(state)
                return
            self.counts["failed"] += 1
            if 0 <= (-1 if mapping.max_retry_attempts is None else mapping.max_retry_attempts) < tries:
                return
            self._is_over.wait(RETRY_AFTER_S)

    def _invoke(self, mapping, event):
        """The state in the answer, or `None` if the invocation failed. An answer without a state is a failure."""
        try:
            function = lambdas.find(mapping.function_name, self._region)
            if not self._may_read(function, mapping.event_source_arn):
                self.counts["denied"] += 1
                return None
            is_error, answer = self._functions.invoke(function, json.dumps(event).encode())
            answer = None if is_error else json.loads(answer)
            return answer.get("state") if isinstance(answer, dict) else None
        except Exception:  # the function or its alias is being replaced; Lambda tries again too
            return None

    def _may_read(self, function, arn):
        if function.role not in self._readers:
            session = iam.assume(function.role, "lambda.amazonaws.com", function.function_name, self._region)
            self._readers[function.role] = iam.principal(session.access_key_id)
        who = self._readers[function.role]
        return all([iam.decide(who, f"dynamodb:{read}", arn, {}) for read in READS])


class Window:
    """The window of time of one reader, and the state that the function keeps in it."""

    def __init__(self, mapping, pace):
        self._length_s = float(mapping.tumbling_window or 0)
        # Without a window there is one that never ends, and the events do not mention it.
        self._lasts_s = max(1.0, self._length_s / pace) if self._length_s else math.inf
        self._begun, self._state, self._is_early = None, {}, False

    def _number(self, at_s):
        return 0 if math.isinf(self._lasts_s) else math.floor(at_s / self._lasts_s)

    def holds(self, one):
        """Whether a record belongs to this window. The first record begins it."""
        number = self._number(one["dynamodb"]["ApproximateCreationDateTime"])
        if self._begun is None:
            self._begun = number
        return number <= self._begun

    def is_over(self):
        return self._begun is not None and self._number(time.time()) > self._begun

    def close(self):
        self._begun, self._state, self._is_early = None, {}, False

    def keep(self, state):
        self._is_early = len(json.dumps(state)) > MOST_STATE_BYTES
        self._state = {} if self._is_early else state

    def event(self, batch, shard_id, arn, is_final):
        if math.isinf(self._lasts_s):
            return {"Records": batch}
        start = (self._begun or 0) * self._lasts_s
        return {
            "Records": batch,
            "window": {"start": _instant(start), "end": _instant(start + self._lasts_s)},
            "state": self._state,
            "shardId": shard_id,
            "eventSourceARN": arn,
            "isFinalInvokeForWindow": is_final,
            "isWindowTerminatedEarly": self._is_early,
        }


def _instant(at_s):
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
