//! Presigned URLs: what a device downloads from and an operator uploads to, with no other credentials.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use tidegate_cloud::{LocalCloud, Ports};

use crate::Outcome;
use crate::conversation::{Answer, ask};
use crate::objects::{BUCKET, cloud_with_bucket, get, image, sha256_base64};

const MINUTE: Duration = Duration::from_secs(60);

type Presigned = Result<PresignedRequest, Box<dyn std::error::Error + Send + Sync>>;

async fn presigned_get(s3: &Client, key: &str) -> Presigned {
    Ok(s3.get_object().bucket(BUCKET).key(key).presigned(PresigningConfig::expires_in(MINUTE)?).await?)
}

/// An upload that may bring these bytes and no others.
async fn presigned_put(s3: &Client, key: &str, bytes: &[u8]) -> Presigned {
    let put = s3.put_object().bucket(BUCKET).key(key).checksum_sha256(sha256_base64(bytes));
    let put = put.content_length(i64::try_from(bytes.len())?);
    Ok(put.presigned(PresigningConfig::expires_in(MINUTE)?).await?)
}

/// What is tried, the headers that are changed for it, and the body.
type Attempt<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8]);

/// Uploads `bytes` with the headers that were signed, except those in `changed`; an empty one is left out.
async fn upload(presigned: &PresignedRequest, changed: &[(&str, &str)], bytes: &[u8]) -> std::io::Result<Answer> {
    let signed = presigned.headers().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    let headers: Vec<_> = signed.chain(changed.iter().copied().filter(|(_, value)| !value.is_empty())).collect();
    ask("PUT", presigned.uri(), &headers, bytes).await
}

async fn stored(s3: &Client, key: &str, bytes: &'static [u8]) -> Outcome {
    s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(bytes)).send().await?;
    Ok(())
}

#[tokio::test]
async fn a_presigned_url_downloads_without_credentials() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    stored(&s3, "lamp/ü 1+2.bin", b"0123456789").await?;
    let url = presigned_get(&s3, "lamp/ü 1+2.bin").await?;
    let whole = ask("GET", url.uri(), &[], b"").await?;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(whole.header("content-length"), Some("10"));
    let part = ask("GET", url.uri(), &[("Range", "bytes=2-4")], b"").await?;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    Ok(())
}

#[tokio::test]
async fn a_presigned_url_of_a_version_downloads_that_version() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let put = s3.put_object().bucket(BUCKET).key("a").body(ByteStream::from_static(b"one")).send().await?;
    stored(&s3, "a", b"two").await?;
    let get = s3.get_object().bucket(BUCKET).key("a").set_version_id(put.version_id).response_cache_control("no-store");
    let url = get.presigned(PresigningConfig::expires_in(MINUTE)?).await?;
    let answer = ask("GET", url.uri(), &[], b"").await?;
    assert_eq!(answer.text(), "one");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    Ok(())
}

#[tokio::test]
async fn a_changed_url_is_forbidden() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    stored(&s3, "a", b"one").await?;
    stored(&s3, "b", b"two").await?;
    let url = presigned_get(&s3, "a").await?.uri().to_owned();
    let (before, signature) = url.split_once("X-Amz-Signature=").ok_or("no signature")?;
    let flipped = if signature.starts_with('0') { "1" } else { "0" };
    let changes = [
        ("another key", url.replace("/images/a?", "/images/b?")),
        ("a longer life", url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
        ("another signature", format!("{before}X-Amz-Signature={flipped}{}", &signature[1..])),
        ("another parameter", format!("{url}&response-content-type=text/html")),
        ("nobody's signature", url.split('?').next().unwrap_or_default().to_owned()),
    ];
    for (change, url) in changes {
        assert_eq!(ask("GET", &url, &[], b"").await?.status, 403, "{change}");
    }
    Ok(())
}

#[tokio::test]
async fn an_expired_url_is_forbidden() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    stored(&s3, "a", b"one").await?;
    let two_hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    let config = PresigningConfig::builder().start_time(two_hours_ago).expires_in(MINUTE).build()?;
    let url = s3.get_object().bucket(BUCKET).key("a").presigned(config).await?;
    assert_eq!(ask("GET", url.uri(), &[], b"").await?.status, 403);
    Ok(())
}

#[tokio::test]
async fn a_url_for_downloading_neither_uploads_nor_deletes() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    stored(&s3, "a", b"one").await?;
    let url = presigned_get(&s3, "a").await?;
    for method in ["PUT", "DELETE", "HEAD"] {
        assert_eq!(ask(method, url.uri(), &[], b"").await?.status, 403, "{method}");
    }
    assert_eq!(get(&s3, "a").await?, b"one");
    Ok(())
}

#[tokio::test]
async fn a_url_signed_with_another_secret_is_forbidden() -> Outcome {
    let (cloud, s3) = cloud_with_bucket().await?;
    stored(&s3, "a", b"one").await?;
    let stranger = aws_sdk_s3::config::Credentials::new(tidegate_cloud::ACCESS_KEY, "guess", None, None, "test");
    let config = aws_sdk_s3::config::Builder::from(&cloud.sdk_config().await).credentials_provider(stranger).build();
    let stranger = Client::from_conf(config);
    assert_eq!(ask("GET", presigned_get(&stranger, "a").await?.uri(), &[], b"").await?.status, 403);
    assert!(stranger.get_object().bucket(BUCKET).key("a").send().await.is_err());
    Ok(())
}

#[tokio::test]
async fn an_upload_of_the_announced_bytes_is_stored() -> Outcome {
    let (_cloud, s3) = cloud_with_bucket().await?;
    let bytes = image(500_000);
    let presigned = presigned_put(&s3, "a", &bytes).await?;
    let answer = upload(&presigned, &[], &bytes).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(get(&s3, "a").await? == bytes);
    Ok(())
}

#[tokio::test]
async fn an_upload_of_other_bytes_is_refused_and_leaves_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    cloud.create_bucket(BUCKET).await?;
    let s3 = cloud.s3();
    let presigned = presigned_put(&s3, "a", b"good").await?;
    let other_digest = sha256_base64(b"evil");
    let attempts: [Attempt; 5] = [
        ("the same length", &[], b"evil"),
        ("a longer body", &[("content-length", "5")], b"good!"),
        ("a shorter body", &[("content-length", "3")], b"goo"),
        ("their own digest", &[("x-amz-checksum-sha256", &other_digest)], b"evil"),
        ("no digest", &[("x-amz-checksum-sha256", "")], b"evil"),
    ];
    for (attempt, changed, bytes) in attempts {
        let answer = upload(&presigned, changed, bytes).await?;
        assert!((400..500).contains(&answer.status), "{attempt}: {} {}", answer.status, answer.text());
        let found = s3.head_object().bucket(BUCKET).key("a").send().await;
        assert!(found.is_err_and(|error| error.into_service_error().is_not_found()), "{attempt} was stored");
    }
    for place in ["blobs", "uploads"] {
        assert_eq!(std::fs::read_dir(folder.path().join(place))?.count(), 0, "something is left in {place}");
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() -> Outcome {
    use tokio::io::AsyncWriteExt;

    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    cloud.create_bucket(BUCKET).await?;
    let bytes = image(1_000_000);
    let presigned = presigned_put(&cloud.s3(), "a", &bytes).await?;
    let host = cloud.s3_url().replace("http://", "");
    let path = presigned.uri().split_once(&host).ok_or("another host")?.1;
    let mut request = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in presigned.headers() {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = tokio::net::TcpStream::connect(&host).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.write_all(&bytes[..400_000]).await?;
    drop(stream);

    let uploads = folder.path().join("uploads");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if std::fs::read_dir(&uploads)?.count() == 0 {
            break;
        }
    }
    assert_eq!(std::fs::read_dir(&uploads)?.count(), 0);
    assert!(cloud.s3().head_object().bucket(BUCKET).key("a").send().await.is_err());
    Ok(())
}
