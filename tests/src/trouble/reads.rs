//! Reads: unprocessed keys, small and torn pages, old answers, throughput.

use serde_json::{Value, json};
use tidegate_cloud::DynamoDbAnswer;
use tokio::time::Instant;

use super::Kind;
use super::batches;
use super::copies::LaggingCopy;
use super::play::Play;
use super::request::{Effect, Request, entries};
use super::table::Table;
use super::units::{self, Charge, Partition};

impl Play {
    /// Answers a read.
    pub(super) fn read(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        if request.is_next_page()
            && let Some(write) = self.between_pages.pop_front()
        {
            self.note(Kind::TornQuery);
            self.write_untroubled(&write, now);
        }
        if request.effect() == Effect::ReadTogether {
            let keys = request.items(&mut self.tables);
            if let Some(cancelled) = self.cancelled_by_conflict(&keys, now) {
                return cancelled;
            }
        }
        match request.operation.as_str() {
            "BatchGetItem" => self.read_batch(request, now),
            "Query" | "Scan" => self.read_whole(&self.one_page(request), now),
            _ => self.read_whole(request, now),
        }
    }

    /// The request for a page that is no larger than the trouble allows.
    fn one_page(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if let Some(most) = self.trouble.page_items {
            let asked = request.body["Limit"].as_u64().unwrap_or(u64::MAX);
            request.body["Limit"] = json!(asked.min(most as u64));
        }
        request
    }

    /// Answers a batch. Keys of busy partitions are left, and others by chance.
    fn read_batch(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        let mut kept_one = false;
        let split = batches::split(&request.body["RequestItems"], |table, entry| {
            let Some(key) = self.tables.batch_key(table, entry) else { return false };
            let partition = Partition { index: None, key: key.hash };
            let kind = if !self.has_room_to_read(&partition, now) {
                Some(Kind::Throttled)
            } else if kept_one && self.draws.happens(self.trouble.unprocessed_chance) {
                Some(Kind::Unprocessed)
            } else {
                None
            };
            kept_one |= kind.is_none();
            kind.inspect(|kind| self.note(*kind)).is_some()
        });
        if split.kept_entries == 0 && split.left_entries > 0 {
            return self.throttled();
        }
        let mut kept = request.clone();
        kept.body["RequestItems"] = split.kept;
        let answer = self.read_whole(&kept, now);
        batches::with_left(answer, "UnprocessedKeys", &split.left)
    }

    /// Answers a read of all that it names.
    fn read_whole(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        let partitions = self.partitions_read(request);
        for partition in &partitions {
            if !self.has_room_to_read(partition, now) {
                return self.throttled();
            }
        }
        let mut measured = request.clone();
        let is_asked_for = request.body["ReturnConsumedCapacity"].as_str().is_some_and(|what| what != "NONE");
        if !is_asked_for {
            measured.body["ReturnConsumedCapacity"] = json!("TOTAL");
        }
        let answer = self.read_old_or_new(&measured, now);
        let Ok(mut body) = serde_json::from_str::<Value>(&answer.body) else { return answer };
        let consumed = if is_asked_for { Some(&body["ConsumedCapacity"]).cloned() } else { None };
        let consumed = consumed.or_else(|| body.as_object_mut()?.remove("ConsumedCapacity"));
        self.count_read(&partitions, &consumed.unwrap_or_default(), now);
        DynamoDbAnswer { status: answer.status, body: body.to_string() }
    }

    fn read_old_or_new(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        if self.trouble.old_read_chance > 0.0 {
            for name in tables_read(request) {
                if let Some(table) = self.tables.get(name) {
                    let lagging = self.lagging.get_or_insert_with(LaggingCopy::new);
                    lagging.follow(name, table, &self.dynamodb);
                }
            }
        }
        if is_eventually_consistent(request)
            && self.draws.happens(self.trouble.old_read_chance)
            && let Some(lagging) = &mut self.lagging
        {
            let answer = lagging.read(request, now);
            self.note(Kind::OldRead);
            return answer;
        }
        self.send(request)
    }

    fn has_room_to_read(&mut self, partition: &Partition, now: Instant) -> bool {
        let limits = self.trouble.partition_limits;
        limits.is_none_or(|limits| self.read_buckets.has_room(partition, limits.read_units_per_s, now))
    }

    /// Counts the units of a read, in equal parts for all partition keys that it names.
    fn count_read(&mut self, partitions: &[Partition], consumed: &Value, now: Instant) {
        let of_tables = consumed.as_array().cloned().unwrap_or_else(|| vec![consumed.clone()]);
        let units: f64 = of_tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let part = units / partitions.len().max(1) as f64;
        let charge = |partition: &Partition| Charge { partition: partition.clone(), units: part };
        let charges: Vec<Charge> = partitions.iter().map(charge).collect();
        units::meter(&mut self.units.reads, &charges, self.start, now);
        if let Some(limits) = self.trouble.partition_limits {
            self.read_buckets.take(&charges, limits.read_units_per_s, now);
        }
    }

    /// Partition keys that a read names. A Scan names none.
    fn partitions_read(&mut self, request: &Request) -> Vec<Partition> {
        if request.operation == "Query" {
            let table = request.body["TableName"].as_str().and_then(|name| self.tables.get(name));
            return table.and_then(|table| partition_queried(table, &request.body)).into_iter().collect();
        }
        let keys = request.items(&mut self.tables);
        keys.into_iter().map(|key| Partition { index: None, key: key.hash }).collect()
    }
}

/// The partition key that a Query asks for.
fn partition_queried(table: &Table, body: &Value) -> Option<Partition> {
    let index = body["IndexName"].as_str();
    let hash = table.hash_name(index)?;
    let expression = body["KeyConditionExpression"].as_str()?;
    let clauses = expression.split(" AND ").filter_map(|clause| clause.split_once('='));
    let clauses = clauses.map(|(name, value)| (name.trim_matches([' ', '(']), value.trim_matches([' ', ')'])));
    let mut of_hash = clauses.filter(|(name, _)| {
        let name_behind = body["ExpressionAttributeNames"][*name].as_str();
        name_behind.unwrap_or(name) == hash
    });
    let (_, value) = of_hash.next()?;
    let key = body["ExpressionAttributeValues"][value]["S"].as_str()?.to_owned();
    Some(Partition { index: index.map(str::to_owned), key })
}

fn tables_read(request: &Request) -> Vec<&str> {
    let named = request.body["TableName"].as_str();
    named.into_iter().chain(entries(&request.body).map(|(table, _)| table)).collect()
}

fn is_eventually_consistent(request: &Request) -> bool {
    let strong = |asked: &Value| asked["ConsistentRead"] == true;
    let batch = request.body["RequestItems"].as_object();
    let any_strong = batch.is_some_and(|tables| tables.values().any(strong));
    request.effect() == Effect::Read && !strong(&request.body) && !any_strong
}
