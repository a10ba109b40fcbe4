"""Writes that DynamoDB refuses although nothing is wrong with them: a transaction names the item, or the partition is too busy.

Moto answers at once and never refuses. Here an item that a transaction has named once is taken as named by an ongoing
one with a given chance. A partition key takes a given number of write units a second; indexes are not limited.
"""

import collections
import json
import math
import random
import threading
import time

PLAIN_WRITES = ("PutItem", "UpdateItem", "DeleteItem")
CONFLICT = "Transaction is ongoing for the item"
# The answer of an on-demand table with a hot key (praetorian-inc/chariot-ui#684).
THROTTLED = (
    "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or "
    "index so please try again shortly. If exceptions persist, check if you have a hot key: "
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"
)
# The answer of a table with provisioned units. On-demand tables give it too (aws-samples/sample-collaborative-ai-dlc#443).
EXCEEDED = (
    "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning "
    "level with the UpdateTable API."
)
KIND = "com.amazonaws.dynamodb.v20120810#"


def writes(operation, fields, hash_of):
    """Every item that a request writes: its table, its partition key, and its whole key as text."""
    if operation in PLAIN_WRITES:
        specs = [fields]
    elif operation == "TransactWriteItems":
        specs = [spec for item in fields["TransactItems"] for spec in item.values()]
    else:
        specs = []
    found = []
    for spec in specs:
        table, names = spec["TableName"].rpartition("/")[2], hash_of(spec["TableName"])
        key = spec.get("Key") or {name: spec["Item"][name] for name in names if name in spec["Item"]}
        found.append((table, json.dumps(key[names[0]]), json.dumps(key, sort_keys=True)))
    return found


class Refusals:
    """Decides about each write before it is made. All dice come from one seed."""

    def __init__(self, seed=0, chance=0.0, units=1000, clock=time.monotonic):
        self.chance, self.units = chance, units
        self.conflicts = self.throttles = 0
        self._dice, self._clock, self._lock = random.Random(seed), clock, threading.Lock()
        self._named, self._spent = set(), collections.defaultdict(collections.deque)

    def refuse(self, operation, items, arn):
        """The body of a refusal, or `None`."""
        if not items:
            return None
        with self._lock:
            is_transaction = operation == "TransactWriteItems"
            busy = [self._is_busy(table, partition) for table, partition, _ in items]
            if any(busy):
                self.throttles += 1
                return self._cancelled(busy, "ThrottlingError", THROTTLED) if is_transaction else self._throttled(arn)
            held = [item in self._named and self._dice.random() < self.chance for item in items]
            if is_transaction:
                self._named.update(items)
            if not any(held):
                return None
            self.conflicts += 1
            if is_transaction:
                return self._cancelled(held, "TransactionConflict", CONFLICT)
            return {"__type": f"{KIND}TransactionConflictException", "message": CONFLICT}

    def spend(self, items, units):
        """Counts the units of a write that was made, or that failed on its condition."""
        with self._lock:
            for (table, partition, _), spent in zip(items, units):
                self._spent[table, partition].append((self._clock(), spent))

    def _is_busy(self, table, partition):
        spent = self._spent[table, partition]
        while spent and spent[0][0] <= self._clock() - 1:
            spent.popleft()
        return sum(units for _, units in spent) >= self.units

    def _throttled(self, arn):
        reasons = [{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": arn}]
        # The two answers spell the field differently (the API's model).
        if self._dice.random() < 0.5:
            return {"__type": f"{KIND}ThrottlingException", "message": THROTTLED, "throttlingReasons": reasons}
        kind = f"{KIND}ProvisionedThroughputExceededException"
        return {"__type": kind, "message": EXCEEDED, "ThrottlingReasons": reasons}

    def _cancelled(self, which, code, text):
        reasons = [{"Code": code, "Message": text} if one else {"Code": "None"} for one in which]
        codes = ", ".join(reason["Code"] for reason in reasons)
        text = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        return {"__type": f"{KIND}TransactionCanceledException", "Message": text, "CancellationReasons": reasons}


def units(size_bytes, operation):
    """Write units of an item: one for each begun KB, twice that in a transaction."""
    return max(1, math.ceil(size_bytes / 1024)) * (2 if operation == "TransactWriteItems" else 1)
