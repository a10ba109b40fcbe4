//! Images: what S3 has verified need not be read.
#![allow(clippy::disallowed_methods, reason = "it writes behind the service's back")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate::stack::BUCKET;
use tidegate_core::ProductId;
use tidegate_core::update::{File, StoredObject};
use tidegate_store::images::Verified;
use tidegate_tests::{LAMP, World, file};

const IMAGE: &[u8] = b"an image that counts as a large one";

/// A file as an update names it, before it is verified.
fn announced() -> File {
    let object = StoredObject { version: None, sha1: None, md5: None };
    File {
        name: "image.bin".into(),
        sha256: hex::encode(Sha256::digest(IMAGE)),
        size_bytes: IMAGE.len() as u64,
        object,
    }
}

async fn verified(world: &World, largest_read_back: u64) -> Verified {
    let images = world.images.clone().reading_back(largest_read_back);
    images.verify(&ProductId::new(LAMP).unwrap(), &announced()).await.unwrap()
}

async fn put(world: &World, bytes: &'static [u8]) {
    let key = format!("images/{LAMP}/{}", announced().sha256);
    world.cloud.s3().put_object().bucket(BUCKET).key(key).body(bytes.to_vec().into()).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_image_is_believed_only_if_s3_has_verified_its_sha_256() {
    let world = World::new(0).await;
    assert_eq!(verified(&world, 0).await, Verified::Missing);
    let body = json!({"version": "2.0.0", "files": [file("image.bin", IMAGE)]});
    let created = world.operator("POST", &format!("{LAMP}/updates"), body, tidegate_http::edge::now()).await;
    world.upload(&created.body, IMAGE).await;

    drop(world.calls.take());
    let Verified::Same { object } = verified(&world, 0).await else { panic!("S3 has verified it") };
    assert_eq!(world.calls.take(), ["S3"], "one HeadObject");
    assert!(object.version.is_some() && object.sha1.is_none() && object.md5.is_none());
    // A small one is read, for its other digests.
    let Verified::Same { object: read } = verified(&world, 1 << 20).await else { panic!("the same bytes") };
    assert_eq!((read.version, read.sha1.is_some(), read.md5.is_some()), (object.version, true, true));

    // Other bytes under the same key, without a SHA-256: S3 vouches for nothing, so they are read.
    put(&world, b"other bytes").await;
    let Verified::Different { size_bytes, .. } = verified(&world, 0).await else { panic!("other bytes") };
    assert_eq!(size_bytes, 11);
    put(&world, IMAGE).await;
    let Verified::Same { object } = verified(&world, 0).await else { panic!("the same bytes again") };
    assert!(object.sha1.is_some(), "they were read");
}
