//! Verifications of large images: those that are asked for, and their results.

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, Timestamp};

use super::item::{Fields, Item, n, s, time};
use super::read::readable;
use super::{DynamoStore, failed_item, key, send};
use crate::store::{Freshness, StoreError, Stored};
use crate::verification::{AskForVerification, Verification, VerifyStore, WantedVerification};

impl AskForVerification for DynamoStore {
    async fn verification(&self, product: &ProductId, sha256: &str) -> Stored<Option<Verification>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::verification(product, sha256)));
        let item = send::send_plain("read a verification", send::READ, &read.consistent_read(true)).await?.item;
        item.as_ref().map(verification_from).transpose()
    }

    async fn ask_for_verification(&self, wanted: &WantedVerification) -> Stored<()> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key::wanted_verification(wanted)))
            .condition_expression("attribute_not_exists(pk)");
        // A failed condition means that it is asked for already.
        send::send("ask for a verification", send::READ, &put).await.map(drop)
    }

    async fn is_verifying(&self, wanted: &WantedVerification) -> Stored<bool> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::wanted_verification(wanted)));
        Ok(send::send_plain("read a wanted verification", send::READ, &read).await?.item.is_some())
    }
}

impl VerifyStore for DynamoStore {
    async fn wanted_verifications(&self) -> Stored<Vec<WantedVerification>> {
        let items = self.query(key::WANTED_VERIFICATIONS, None, Freshness::Strong).await?;
        Ok(readable(&items, wanted_from))
    }

    async fn take_verification(&self, wanted: &WantedVerification, now: Timestamp, until: Timestamp) -> Stored<bool> {
        let update = self
            .update(key::wanted_verification(wanted))
            .update_expression("SET taken_until = :until")
            .condition_expression("attribute_exists(pk) AND (attribute_not_exists(taken_until) OR taken_until < :now)")
            .expression_attribute_values(":until", time(until))
            .expression_attribute_values(":now", time(now));
        match send::send("take a verification", send::READ, &update).await? {
            Ok(_) => Ok(true),
            Err(refused) => failed_item(refused).map(|_| false),
        }
    }

    async fn end_verification(&self, wanted: &WantedVerification, result: Option<&Verification>) -> Stored<()> {
        if let Some(result) = result {
            let item = verification_to(wanted, result);
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            send::send_plain("write a verification", send::READ, &put).await?;
        }
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key::wanted_verification(wanted)));
        send::send_plain("end a verification", send::READ, &delete).await.map(drop)
    }
}

fn wanted_from(item: &Item) -> Stored<WantedVerification> {
    let fields = Fields(item);
    let name = fields.text("sk")?;
    let corrupt = || StoreError::Corrupt(format!("{name} names no image").into());
    let (product, sha256) = name.split_once('#').ok_or_else(corrupt)?;
    Ok(WantedVerification { product: ProductId::new(product).map_err(StoreError::corrupt)?, sha256: sha256.into() })
}

fn verification_to(wanted: &WantedVerification, result: &Verification) -> Item {
    let mut item = key::verification(&wanted.product, &wanted.sha256);
    let text = |text: &Option<String>| text.as_ref().map_or(AttributeValue::Null(true), s);
    item.extend([
        ("object_version".into(), text(&result.object.version)),
        ("sha1".into(), text(&result.object.sha1)),
        ("md5".into(), text(&result.object.md5)),
        ("sha256".into(), s(&result.sha256)),
        ("size".into(), n(result.size_bytes)),
    ]);
    item
}

fn verification_from(item: &Item) -> Stored<Verification> {
    let fields = Fields(item);
    let text = |field| fields.maybe_text(field).map(str::to_string);
    Ok(Verification {
        object: StoredObject { version: text("object_version"), sha1: text("sha1"), md5: text("md5") },
        sha256: fields.text("sha256")?.to_string(),
        size_bytes: fields.number("size")?,
    })
}
