//! Store in one DynamoDB table. Compiled catalogs and the state of the fleet snapshot are in S3, because they
//! are too large for an item.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `#products` | product | the products |
//! | `p#`product | `head` | [`Head`](crate::record::Head) |
//! | `p#`product | `update#`version | an update in its last campaign; the version is written so that keys sort as versions do |
//! | `p#`product | `update#`version`/`campaign | the same in a campaign before |
//! | `d#`product`#`device | `device` | a device with its claims |
//! | `d#`product`#`device | `doc` | its `device.json` without the version |
//! | `s#`product`#`rollout`#`shard | `shard` | a shard of a rollout |
//! | `t#`product`#`rollout | stream shard | a tally over the claims of a rollout |
//! | `t#`product | stream shard | a tally over the versions of a product's devices |
//! | `t#`… | `~base` | the sum of the tallies of stream shards that have ended |
//! | `c#`product`#`rollout | `members` | the members of a control group |
//! | `u#`product`#`rollout | time`#`writer | a page of devices that are due about then |
//! | `l#`product`#`rollout`#`bucket`#`part | device | a device in this bucket |
//! | `o#`product | position`#`stream shard | events, for those who are to be told |
//! | `x#`product`#`month | time`#`generation`#`digest | changes with their actors |
//! | `#verify` | product`#`SHA-256 | a large image that is to be read |
//! | `v#`product | SHA-256 | what the bytes of a large image are |
//! | `q#`product`#`rollout | `deferred` | number of deferrals, by objection |
//! | `r#`product`#`rollout | hour | counters over time |
//!
//! A rollout is named by its version, and from the second campaign on by version`/`campaign.
//!
//! The index `versions` lists devices by their version: `on` is product`#`version`#`part, and `id` is the device.

mod changes;
mod count;
mod device;
mod grant;
pub(crate) mod item;
pub(crate) mod key;
mod objects;
mod publish;
mod read;
mod recount;
mod repair;
mod send;
mod shards;
mod sweep;
mod tally;
mod tidy;
mod verification;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Put, TransactWriteItem, Update};

use crate::dynamo::item::Item;
use crate::dynamo::objects::Objects;
use crate::dynamo::send::Refusal as _;
use crate::seal::CatalogKey;
use crate::store::StoreError;

/// Store in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    client: Client,
    table: String,
    objects: Objects,
}

impl DynamoStore {
    /// A store in `table`, with its compiled catalogs in `bucket`. It can neither read nor write a catalog before it has
    /// a key.
    #[must_use]
    pub fn new(client: Client, table: &str, s3: aws_sdk_s3::Client, bucket: &str) -> Self {
        Self { client, table: table.to_string(), objects: Objects::new(s3, bucket) }
    }

    /// The same store with the key that seals catalogs.
    #[must_use]
    pub fn with_catalog_key(self, key: CatalogKey) -> Self {
        Self { objects: self.objects.with_key(key), ..self }
    }

    fn update(&self, key: key::Key) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key))
    }
}

/// An update of one item: its expression, its condition, and their values. It is sent alone or in a transaction.
#[derive(Debug, Clone, Default)]
struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// Sets an attribute to `to`: an expression, whose placeholders need values.
    fn set(&mut self, path: &str, to: &str) {
        self.sets.push(format!("{path} = {to}"));
    }

    fn remove(&mut self, path: &str) {
        self.removes.push(path.to_string());
    }

    fn condition(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    fn value(&mut self, placeholder: &str, value: AttributeValue) {
        self.values.insert(placeholder.to_string(), value);
    }

    fn name(&mut self, placeholder: &str, name: impl Into<String>) {
        self.names.insert(placeholder.to_string(), name.into());
    }

    /// Sets an attribute to a value, under a placeholder of the same name.
    fn put(&mut self, attribute: &str, value: AttributeValue) {
        let placeholder = format!(":{attribute}");
        self.name(&format!("#{attribute}"), attribute);
        self.set(&format!("#{attribute}"), &placeholder);
        self.value(&placeholder, value);
    }

    fn text(&self) -> String {
        let set = (!self.sets.is_empty()).then(|| format!("SET {}", self.sets.join(", ")));
        let remove = (!self.removes.is_empty()).then(|| format!("REMOVE {}", self.removes.join(", ")));
        set.into_iter().chain(remove).collect::<Vec<_>>().join(" ")
    }

    fn condition_text(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// The item that a failed condition shows; empty if there is none.
fn failed_item(refused: UpdateItemError) -> Result<Item, StoreError> {
    match refused {
        UpdateItemError::ConditionalCheckFailedException(refused) => Ok(refused.item.unwrap_or_default()),
        other => Err(StoreError::unavailable(other)),
    }
}

/// The items of a cancelled transaction whose conditions failed, by number.
fn failed_conditions(refused: &TransactWriteItemsError) -> BTreeMap<usize, &CancellationReason> {
    let reasons = refused.cancellation().unwrap_or_default();
    reasons.iter().enumerate().filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed")).collect()
}

/// Error of a builder without a required field. All required fields are set here.
fn unbuilt(error: BuildError) -> StoreError {
    StoreError::Unavailable(format!("a request could not be built: {error}").into())
}

fn update_item(update: Update) -> TransactWriteItem {
    TransactWriteItem::builder().update(update).build()
}

fn put_item(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}
