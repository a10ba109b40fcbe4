//! The keys of a table and of its indexes.

use serde_json::{Map, Value, json};
use tidegate_cloud::InProcessDynamoDb;

/// An item as DynamoDB writes it: attributes by name.
pub(super) type Item = Map<String, Value>;

/// Key of one item. The key attributes of the tables here are texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ItemKey {
    /// Name of the table.
    pub(super) table: String,
    /// Partition key.
    pub(super) hash: String,
    /// Sort key, if the table has one.
    pub(super) range: Option<String>,
}

/// Keys of a table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    hash: String,
    range: Option<String>,
    /// Secondary indexes.
    pub(super) indexes: Vec<Index>,
    description: Value,
}

/// Keys of a secondary index.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// Name of the index.
    pub(super) name: String,
    /// Attribute that is its partition key.
    pub(super) hash: String,
    range: Option<String>,
    /// Attributes of an entry. None: all.
    projected: Option<Vec<String>>,
}

impl Table {
    /// Reads the keys of a table, if it exists.
    pub(super) fn describe(dynamodb: &InProcessDynamoDb, name: &str) -> Option<Self> {
        let described = dynamodb.answer("DescribeTable", &json!({"TableName": name}).to_string());
        let mut described: Value = serde_json::from_str(&described.body).ok()?;
        let description = described["Table"].take();
        let (hash, range) = key_schema(&description)?;
        let mut indexes = Vec::new();
        for index in description["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
            indexes.push(Index::read(index, &hash, range.as_deref())?);
        }
        Some(Self { name: name.to_owned(), hash, range, indexes, description })
    }

    /// The request that makes an empty table with these keys and indexes, without a stream.
    pub(super) fn create_request(&self) -> Value {
        let kept = ["IndexName", "KeySchema", "Projection"];
        let index =
            |index: &Value| kept.map(|name| (name.to_owned(), index[name].clone())).into_iter().collect::<Item>();
        let mut request = json!({
            "TableName": self.name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": self.description["KeySchema"],
            "AttributeDefinitions": self.description["AttributeDefinitions"],
        });
        if let Some(indexes) = self.description["GlobalSecondaryIndexes"].as_array() {
            request["GlobalSecondaryIndexes"] = indexes.iter().map(index).map(Value::Object).collect();
        }
        request
    }

    /// Key in an item, or in the `Key` of a request.
    pub(super) fn key_of(&self, item: &Value) -> Option<ItemKey> {
        let text = |name: &str| item[name]["S"].as_str().map(str::to_owned);
        let range = match &self.range {
            None => None,
            Some(range) => Some(text(range)?),
        };
        Some(ItemKey { table: self.name.clone(), hash: text(&self.hash)?, range })
    }

    /// The `Key` of a request.
    pub(super) fn key_json(&self, key: &ItemKey) -> Value {
        let mut attributes = Item::new();
        attributes.insert(self.hash.clone(), json!({"S": key.hash}));
        if let (Some(name), Some(value)) = (&self.range, &key.range) {
            attributes.insert(name.clone(), json!({"S": value}));
        }
        Value::Object(attributes)
    }

    /// Name of the partition key of the table, or of one of its indexes.
    pub(super) fn hash_name(&self, index: Option<&str>) -> Option<&str> {
        match index {
            None => Some(&self.hash),
            Some(name) => self.indexes.iter().find(|index| index.name == name).map(|index| index.hash.as_str()),
        }
    }
}

impl Index {
    fn read(description: &Value, table_hash: &str, table_range: Option<&str>) -> Option<Self> {
        let (hash, range) = key_schema(description)?;
        let projection = &description["Projection"];
        let projected = match projection["ProjectionType"].as_str()? {
            "ALL" => None,
            _ => {
                let keys = [Some(hash.as_str()), range.as_deref(), Some(table_hash), table_range];
                let more = projection["NonKeyAttributes"].as_array().into_iter().flatten().filter_map(Value::as_str);
                Some(keys.into_iter().flatten().chain(more).map(str::to_owned).collect())
            }
        };
        Some(Self { name: description["IndexName"].as_str()?.to_owned(), hash, range, projected })
    }

    /// The entry of an item, if the item has the attributes of the index's key.
    pub(super) fn entry(&self, item: &Item) -> Option<Item> {
        let has_key = item.contains_key(&self.hash) && self.range.as_ref().is_none_or(|range| item.contains_key(range));
        let is_projected = |name: &String| self.projected.as_ref().is_none_or(|names| names.contains(name));
        let attributes = item.iter().filter(|(name, _)| is_projected(name));
        has_key.then(|| attributes.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// True if two entries have the same key in the index.
    pub(super) fn same_key(&self, one: &Item, other: &Item) -> bool {
        let same = |name: &String| one.get(name) == other.get(name);
        same(&self.hash) && self.range.as_ref().is_none_or(same)
    }
}

fn key_schema(description: &Value) -> Option<(String, Option<String>)> {
    let of_type = |key_type: &str| {
        let keys = description["KeySchema"].as_array()?;
        let key = keys.iter().find(|key| key["KeyType"] == key_type)?;
        key["AttributeName"].as_str().map(str::to_owned)
    };
    Some((of_type("HASH")?, of_type("RANGE")))
}
