//! S3: `s3s` reads and writes the wire format and checks every signature; this module stores objects.
//!
//! It implements the calls that the services use: buckets, versioning, plain uploads, downloads, deletion and
//! listing. Every other call answers 501 `NotImplemented`.

mod catalog;
mod condition;
mod digest;
mod listing;
mod object;
mod signature;
mod upload;
mod versions;

use hyper::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

pub(crate) use catalog::{Catalog as Storage, Keep};
use condition::{ReadConditions, WriteConditions};
use digest::Declared;
use listing::Listing;
use object::Description;

/// Bytes read from a file at once: large enough for cheap reads, small enough for a thousand downloads in
/// memory.
const READ_BYTES: usize = 64 * 1024;

/// The HTTP service over `storage`. With an authenticator, `s3s` checks signatures and refuses anonymous
/// requests.
pub(crate) fn service(storage: Storage, access_key: &str, secret_key: &str) -> signature::Checked {
    let mut builder = S3ServiceBuilder::new(storage);
    builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
    signature::Checked(builder.build())
}

#[async_trait::async_trait]
impl S3 for Storage {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = request.input.bucket;
        self.create_bucket(&bucket)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{bucket}")) }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.versioning(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let status = request.input.versioning_configuration.status.ok_or_else(|| s3_error!(MalformedXML))?;
        self.set_versioning(&request.input.bucket, status.as_str())?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let status = self.versioning(&request.input.bucket)?.map(BucketVersioningStatus::from);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    /// Writes the bytes to a temporary file, then checks every digest, then decides in one transaction.
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { mut input, headers, trailing_headers, .. } = request;
        self.versioning(&input.bucket)?;
        let mut declared = Declared::in_headers(&headers)?;
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let upload = upload::receive(&self.uploads(), body, &declared).await?;
        if let Some(trailers) = trailing_headers.and_then(|trailers| trailers.take()) {
            declared.add_trailers(&trailers);
        }
        declared.verify(&upload)?;

        let conditions = WriteConditions { if_match: input.if_match.take(), if_none_match: input.if_none_match.take() };
        let description = Description::of(&input, upload.digests.clone());
        let object = self.publish(&input.bucket, &input.key, upload, description, &conditions)?;
        Ok(S3Response::new(object.put_output()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (object, file) = self.open_object(&input.bucket, &input.key, input.version_id.as_deref())?;
        ReadConditions::of_get(&input).judge(&object)?;
        let range = input.range.map(|range| range.check(object.size_bytes)).transpose()?;

        let mut output = object.get_output(range.clone());
        let part = range.unwrap_or(0..object.size_bytes);
        let mut file = tokio::fs::File::from_std(file);
        file.seek(std::io::SeekFrom::Start(part.start)).await.map_err(catalog::internal)?;
        let bytes = ReaderStream::with_capacity(file.take(part.end - part.start), READ_BYTES);
        output.body = Some(StreamingBlob::wrap(bytes));
        object::override_headers(&mut output, input);
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        ReadConditions::of_head(&input).judge(&object)?;
        Ok(S3Response::new(object.head_output()))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let deleted = match &input.version_id {
            Some(version) => self.delete_version(&input.bucket, &input.key, version)?,
            None => self.delete(&input.bucket, &input.key)?,
        };
        let output = DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version,
            ..Default::default()
        };
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = input.continuation_token.as_deref().or(input.start_after.as_deref()).unwrap_or_default();
        let found = self.newest_objects(&input.bucket, prefix, after)?;
        let listing = Listing::page(found, prefix, input.delimiter.as_deref(), listing::page_size(input.max_keys));
        Ok(S3Response::new(listing.output(input)))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let found = self.all_versions(&input.bucket, input.prefix.as_deref().unwrap_or_default())?;
        Ok(S3Response::new(versions::page(found, input)))
    }
}
