//! Objects in S3, through the AWS SDK.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};
use tidegate_cloud::{LocalCloud, Ports};

use crate::Outcome;

pub(crate) const BUCKET: &str = "images";

pub(crate) fn sha256_base64(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

/// Bytes that differ everywhere, so that a shifted range shows.
pub(crate) fn image(size_bytes: u32) -> Vec<u8> {
    (0..size_bytes).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) async fn cloud_with_bucket() -> Result<(LocalCloud, Client), Box<dyn std::error::Error + Send + Sync>> {
    let cloud = LocalCloud::temporary()?;
    cloud.create_bucket(BUCKET).await?;
    let s3 = cloud.s3();
    Ok((cloud, s3))
}

async fn put(s3: &Client, key: &str, bytes: &[u8]) -> Result<String, aws_sdk_s3::Error> {
    let put = s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from(bytes.to_vec())).send().await?;
    Ok(put.version_id().unwrap_or_default().to_owned())
}

pub(crate) async fn get(s3: &Client, key: &str) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let got = s3.get_object().bucket(BUCKET).key(key).send().await?;
    Ok(got.body.collect().await?.to_vec())
}

#[tokio::test]
async fn what_is_put_is_got_with_its_description() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let bytes = image(300_000);
    let sha256 = sha256_base64(&bytes);
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("lamp/2.0.0.bin")
        .content_type("application/x-firmware")
        .metadata("version", "2.0.0")
        .checksum_sha256(&sha256)
        .body(bytes.clone().into())
        .send()
        .await?;
    let etag = format!("\"{}\"", hex::encode(Md5::digest(&bytes)));
    assert_eq!(put.e_tag(), Some(etag.as_str()));
    assert_eq!(put.checksum_sha256(), Some(sha256.as_str()));

    let head = s3.head_object().bucket(BUCKET).key("lamp/2.0.0.bin").send().await?;
    assert_eq!(head.content_length(), Some(300_000));
    assert_eq!(head.content_type(), Some("application/x-firmware"));
    assert_eq!(head.checksum_sha256(), Some(sha256.as_str()));
    assert_eq!(head.metadata().and_then(|all| all.get("version")).map(String::as_str), Some("2.0.0"));
    assert_eq!(head.version_id(), put.version_id());
    assert_eq!(get(&s3, "lamp/2.0.0.bin").await?, bytes);
    Ok(())
}

#[tokio::test]
async fn an_upload_may_bring_its_digest_after_its_bytes() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let bytes = image(200_000);
    let put = s3.put_object().bucket(BUCKET).key("a").checksum_algorithm(ChecksumAlgorithm::Sha256);
    let put = put.body(bytes.clone().into()).send().await?;
    assert_eq!(put.checksum_sha256(), Some(sha256_base64(&bytes).as_str()));
    Ok(())
}

#[tokio::test]
async fn a_file_of_many_pieces_streams_through() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let bytes = image(9_000_000);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &bytes)?;
    let body = ByteStream::from_path(file.path()).await?;
    s3.put_object().bucket(BUCKET).key("large").body(body).send().await?;
    assert!(get(&s3, "large").await? == bytes);
    Ok(())
}

#[tokio::test]
async fn a_range_is_a_part_of_the_object() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let bytes = image(1000);
    put(&s3, "a", &bytes).await?;
    let check = |range: &'static str, expected: &[u8], shown: &'static str| {
        let (s3, expected) = (s3.clone(), expected.to_vec());
        async move {
            let got = s3.get_object().bucket(BUCKET).key("a").range(range).send().await?;
            assert_eq!(got.content_range(), Some(shown));
            assert_eq!(got.body.collect().await?.to_vec(), expected, "{range}");
            Outcome::Ok(())
        }
    };
    check("bytes=100-199", &bytes[100..200], "bytes 100-199/1000").await?;
    check("bytes=990-", &bytes[990..], "bytes 990-999/1000").await?;
    check("bytes=-50", &bytes[950..], "bytes 950-999/1000").await?;
    check("bytes=990-5000", &bytes[990..], "bytes 990-999/1000").await?;

    let beyond = s3.get_object().bucket(BUCKET).key("a").range("bytes=1000-").send().await;
    let status = beyond.err().and_then(|error| Some(error.raw_response()?.status().as_u16()));
    assert_eq!(status, Some(416));
    Ok(())
}

#[tokio::test]
async fn an_empty_object_is_an_object() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    put(&s3, "empty", b"").await?;
    assert_eq!(get(&s3, "empty").await?, b"");
    Ok(())
}

#[tokio::test]
async fn an_old_version_can_still_be_got() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let first = put(&s3, "a", b"one").await?;
    let second = put(&s3, "a", b"two").await?;
    assert_ne!(first, second);
    let old = s3.get_object().bucket(BUCKET).key("a").version_id(&first).send().await?;
    assert_eq!(old.body.collect().await?.to_vec(), b"one");
    assert_eq!(get(&s3, "a").await?, b"two");
    let unknown = s3.get_object().bucket(BUCKET).key("a").version_id("nonsense").send().await;
    assert_eq!(unknown.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("NoSuchVersion"));
    Ok(())
}

#[tokio::test]
async fn a_deletion_hides_a_key_and_keeps_its_versions() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let version = put(&s3, "a", b"one").await?;
    let deleted = s3.delete_object().bucket(BUCKET).key("a").send().await?;
    assert_eq!(deleted.delete_marker(), Some(true));
    let hidden = s3.get_object().bucket(BUCKET).key("a").send().await;
    assert!(hidden.is_err_and(|error| error.into_service_error().is_no_such_key()));
    let kept = s3.get_object().bucket(BUCKET).key("a").version_id(&version).send().await?;
    assert_eq!(kept.body.collect().await?.to_vec(), b"one");
    let gone = s3.delete_object().bucket(BUCKET).key("a").version_id(&version).send().await?;
    assert_eq!(gone.delete_marker(), None);
    assert!(s3.get_object().bucket(BUCKET).key("a").version_id(&version).send().await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_the_object_stays_as_it_was() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let version = put(&s3, "a", b"good").await?;
    let wrong = s3.put_object().bucket(BUCKET).key("a").checksum_sha256(sha256_base64(b"other"));
    let refused = wrong.body(ByteStream::from_static(b"evil")).send().await.err().ok_or("accepted")?;
    assert_eq!(refused.code(), Some("BadDigest"));
    let wrong = s3.put_object().bucket(BUCKET).key("a").content_md5(STANDARD.encode(Md5::digest(b"other")));
    let refused = wrong.body(ByteStream::from_static(b"evil")).send().await.err().ok_or("accepted")?;
    assert_eq!(refused.code(), Some("BadDigest"));

    let head = s3.head_object().bucket(BUCKET).key("a").send().await?;
    assert_eq!(head.version_id(), Some(version.as_str()));
    assert_eq!(get(&s3, "a").await?, b"good");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_create_a_key_one_wins() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32_u8 {
        let s3 = s3.clone();
        writers.spawn(async move {
            let body = ByteStream::from(vec![writer; 1000]);
            s3.put_object().bucket(BUCKET).key("race").if_none_match("*").body(body).send().await
        });
    }
    let outcomes = writers.join_all().await;
    let losers: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.code()).collect();
    assert_eq!(losers, vec!["PreconditionFailed"; 31]);
    assert_eq!(get(&s3, "race").await?.len(), 1000);
    Ok(())
}

#[tokio::test]
async fn conditions_are_kept_on_reads_and_writes() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    put(&s3, "a", b"one").await?;
    let etag = s3.head_object().bucket(BUCKET).key("a").send().await?.e_tag().unwrap_or_default().to_owned();

    let unchanged = s3.get_object().bucket(BUCKET).key("a").if_none_match(&etag).send().await;
    let status = unchanged.err().and_then(|error| Some(error.raw_response()?.status().as_u16()));
    assert_eq!(status, Some(304));
    let other = s3.get_object().bucket(BUCKET).key("a").if_match("\"00\"").send().await;
    assert_eq!(other.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("PreconditionFailed"));

    let replace = |etag: &str| {
        let body = ByteStream::from_static(b"two");
        s3.put_object().bucket(BUCKET).key("a").if_match(etag).body(body).send()
    };
    assert!(replace("\"00\"").await.is_err());
    assert!(replace(&etag).await.is_ok());
    assert!(replace(&etag).await.is_err(), "the entity tag is of the object that was replaced");
    Ok(())
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_folds_at_a_delimiter() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    for key in ["lamp/1/image", "lamp/1/notes", "lamp/2/image", "lamp/3/image", "other"] {
        put(&s3, key, b".").await?;
    }
    s3.delete_object().bucket(BUCKET).key("lamp/3/image").send().await?;
    let page = s3.list_objects_v2().bucket(BUCKET).prefix("lamp/").max_keys(2).send().await?;
    let keys = |contents: &[aws_sdk_s3::types::Object]| -> Vec<String> {
        contents.iter().filter_map(|object| object.key().map(str::to_owned)).collect()
    };
    assert_eq!(keys(page.contents()), ["lamp/1/image", "lamp/1/notes"]);
    let token = page.next_continuation_token().ok_or("no next page")?;
    let rest = s3.list_objects_v2().bucket(BUCKET).prefix("lamp/").continuation_token(token).send().await?;
    assert_eq!(keys(rest.contents()), ["lamp/2/image"]);
    assert_eq!(rest.is_truncated(), Some(false));

    let folded = s3.list_objects_v2().bucket(BUCKET).prefix("lamp/").delimiter("/").send().await?;
    let prefixes: Vec<_> = folded.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).collect();
    assert_eq!(prefixes, ["lamp/1/", "lamp/2/"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_of_an_overwrite() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    put(&s3, "a", &vec![0; 1_000_000]).await?;
    let writer = {
        let s3 = s3.clone();
        tokio::spawn(async move {
            for round in 1..=8 {
                put(&s3, "a", &vec![round; 1_000_000]).await?;
            }
            Ok::<_, aws_sdk_s3::Error>(())
        })
    };
    while !writer.is_finished() {
        let bytes = get(&s3, "a").await?;
        assert!(bytes.len() == 1_000_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    }
    writer.await??;
    Ok(())
}

#[tokio::test]
async fn a_missing_bucket_and_a_missing_key_are_told_apart() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let no_key = s3.get_object().bucket(BUCKET).key("none").send().await;
    assert_eq!(no_key.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("NoSuchKey"));
    let no_bucket = s3.get_object().bucket("nowhere").key("none").send().await;
    assert_eq!(no_bucket.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("NoSuchBucket"));
    assert!(s3.head_bucket().bucket("nowhere").send().await.is_err());
    assert!(s3.head_bucket().bucket(BUCKET).send().await.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_bucket_may_be_created_again_and_keeps_versions() -> Outcome {
    let (cloud, s3) = cloud_with_bucket().await?;
    put(&s3, "a", b"one").await?;
    cloud.create_bucket(BUCKET).await?;
    assert_eq!(get(&s3, "a").await?, b"one");
    let versioning = s3.get_bucket_versioning().bucket(BUCKET).send().await?;
    assert_eq!(versioning.status(), Some(&aws_sdk_s3::types::BucketVersioningStatus::Enabled));
    Ok(())
}

#[tokio::test]
async fn objects_survive_a_restart() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    cloud.create_bucket(BUCKET).await?;
    let version = put(&cloud.s3(), "a", b"one").await?;
    put(&cloud.s3(), "a", b"two").await?;
    cloud.shutdown().await;
    // What a killed upload leaves behind.
    std::fs::write(folder.path().join("uploads/left-over"), b"half")?;

    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    cloud.create_bucket(BUCKET).await?;
    assert_eq!(get(&cloud.s3(), "a").await?, b"two");
    let old = cloud.s3().get_object().bucket(BUCKET).key("a").version_id(version).send().await?;
    assert_eq!(old.body.collect().await?.to_vec(), b"one");
    assert_eq!(std::fs::read_dir(folder.path().join("uploads"))?.count(), 0);
    Ok(())
}
