//! Images: what was announced is compared with what is stored, also of files that are too large for a call of an operator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tidegate::stack::BUCKET;
use tidegate_tests::{Answer, LAMP, World, file, lamp, put};
use tidegate_wire::operator::UploadedParts;

/// The bytes of a file: two parts, of which the second is short.
fn image() -> Vec<u8> {
    (0..(16_u32 << 20) + 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn draft(world: &World, image: &[u8]) -> Answer {
    let body = json!({"version": "2.0.0", "files": [file("image.bin", image)]});
    world.operator("POST", &format!("{LAMP}/updates"), body, tidegate_http::edge::now()).await
}

async fn call(world: &World, method: &str, verb: &str, body: Value) -> Answer {
    world.operator(method, &format!("{LAMP}/updates/2.0.0{verb}"), body, tidegate_http::edge::now()).await
}

async fn parts(world: &World) -> UploadedParts {
    let answer = call(world, "POST", "/upload", json!({"name": "image.bin"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body).unwrap()
}

async fn activate(world: &World) -> Answer {
    call(world, "POST", "/activate", json!({"reason": "a test"})).await
}

/// Uploads the parts that are missing; at most `most`.
async fn upload(world: &World, image: &[u8], most: usize) {
    for part in parts(world).await.parts.into_iter().take(most) {
        let start = usize::try_from(part.offset).unwrap();
        let bytes = image[start..start + usize::try_from(part.size).unwrap()].to_vec();
        assert_eq!(put(&json!({"url": part.url, "headers": part.headers}), bytes).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_goes_on_where_it_stopped_and_its_bytes_are_read_by_a_function_of_their_own() {
    let (world, image) = (World::reading_at_once(1 << 20).await, image());
    draft(&world, &image).await;
    assert_eq!(activate(&world).await.code(), "image_missing");
    let begun = parts(&world).await;
    assert_eq!((begun.stored, begun.parts.len(), begun.parts[0].size), (0, 2, 16 << 20));
    upload(&world, &image, 1).await;
    let left = parts(&world).await;
    assert_eq!((left.stored, left.parts.len(), left.parts[0].offset, left.parts[0].size), (16 << 20, 1, 16 << 20, 20));
    assert_eq!(activate(&world).await.code(), "image_missing");
    upload(&world, &image, 1).await;
    // The call that finds all parts makes one object of them. Repeated, it changes nothing.
    for _ in 0..2 {
        let done = parts(&world).await;
        assert_eq!((done.stored, done.parts.len()), (done.size, 0));
    }
    let begun = world.cloud.s3().list_multipart_uploads().bucket(BUCKET).send().await.unwrap();
    assert_eq!(begun.uploads().len(), 0);

    let verifying = async || call(&world, "GET", "", Value::Null).await.body["verifying"].clone();
    assert_eq!(verifying().await, json!(["image.bin"]));
    let refused = activate(&world).await;
    assert_eq!((refused.status, refused.code()), (409, "verifying"), "{refused:?}");
    let now = tidegate_http::edge::now();
    let read = world.services.verify.verify_one(now).await.unwrap();
    assert_eq!((read.read, read.bytes), (1, image.len() as u64));
    assert_eq!(world.services.verify.verify_one(now).await.unwrap().read, 0, "it is read once");
    assert_eq!(verifying().await, Value::Null);
    drop(world.calls.take());
    let active = activate(&world).await;
    assert_eq!(active.status, 200, "{active:?}");
    let s3 = world.calls.take().into_iter().filter(|call| call == "S3").count();
    assert_eq!(s3, 2, "one HeadObject, and the catalog");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), now).await.body["version"], "2.0.0");
    let stored = tidegate_store::ReadUpdates::updates(&world.store, &tidegate_core::ProductId::new(LAMP).unwrap())
        .await
        .unwrap();
    let object = &stored[0].objects[0];
    assert!(object.version.is_some() && object.sha1.is_some() && object.md5.is_some(), "for clients of hawkBit");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_in_parts_are_found_before_they_are_offered_and_can_be_replaced() {
    let (world, image) = (World::reading_at_once(1 << 20).await, image());
    draft(&world, &image).await;
    let mut other = image.clone();
    other[5] ^= 1;
    upload(&world, &other, 2).await;
    assert_eq!(parts(&world).await.parts.len(), 0);
    let now = tidegate_http::edge::now();
    world.services.verify.verify_one(now).await.unwrap();
    let refused = activate(&world).await;
    assert_eq!((refused.status, refused.code()), (409, "image_mismatch"), "{refused:?}");
    // The right bytes are another version of the object, which is read anew.
    let key = format!("images/{LAMP}/{}", file("image.bin", &image)["sha256"].as_str().unwrap());
    world.cloud.s3().put_object().bucket(BUCKET).key(key).body(image.clone().into()).send().await.unwrap();
    assert_eq!(activate(&world).await.code(), "verifying");
    world.services.verify.verify_one(now).await.unwrap();
    assert_eq!(activate(&world).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_one_function_reads_is_left_to_it_for_as_long_as_it_may_run() {
    let (world, image) = (World::reading_at_once(0).await, b"bytes");
    let created = draft(&world, image).await;
    world.upload(&created.body, image).await;
    assert_eq!(activate(&world).await.code(), "verifying");
    let store = &world.store;
    let now = tidegate_http::edge::now();
    let minutes = |minutes| now + jiff::SignedDuration::from_mins(minutes);
    use tidegate_store::verification::VerifyStore as _;
    let wanted = store.wanted_verifications().await.unwrap();
    assert_eq!(wanted.len(), 1);
    assert!(store.take_verification(&wanted[0], now, minutes(15)).await.unwrap(), "the function that dies");
    assert_eq!(world.services.verify.verify_one(minutes(14)).await.unwrap().read, 0);
    assert_eq!(world.services.verify.verify_one(minutes(16)).await.unwrap().read, 1);
    assert_eq!(activate(&world).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_itself_knows_of_a_large_image_is_told_at_once() {
    let (world, image) = (World::reading_at_once(0).await, b"the bytes");
    let created = draft(&world, image).await;
    let key = format!("images/{LAMP}/{}", file("image.bin", image)["sha256"].as_str().unwrap());
    let bytes = b"too many bytes".to_vec();
    world.cloud.s3().put_object().bucket(BUCKET).key(key).body(bytes.into()).send().await.unwrap();
    assert_eq!(activate(&world).await.code(), "image_mismatch", "its length is another one");
    world.upload(&created.body, image).await;
    assert_eq!(activate(&world).await.code(), "verifying");
    let refused = call(&world, "POST", "/upload", json!({"name": "other.bin"})).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_field"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_what_s3_takes_in_one_request_is_uploaded_in_parts() {
    let world = World::new(0).await;
    let large = json!({"name": "image.bin", "sha256": "ab".repeat(32), "size": 6_u64 << 30});
    let body = json!({"version": "2.0.0", "files": [large]});
    let created = world.operator("POST", &format!("{LAMP}/updates"), body, tidegate_http::edge::now()).await;
    assert_eq!(created.body["uploads"], json!([{"name": "image.bin", "method": "PARTS", "headers": {}}]));
    let begun = parts(&world).await;
    assert_eq!((begun.size, begun.parts.len()), (6 << 30, 32));
    let body =
        json!({"version": "3.0.0", "files": [{"name": "x", "sha256": "ab".repeat(32), "size": (32_u64 << 30) + 1}]});
    let refused = world.operator("POST", &format!("{LAMP}/updates"), body, tidegate_http::edge::now()).await;
    assert!(refused.body.to_string().contains("32 GiB"), "{refused:?}");
}
