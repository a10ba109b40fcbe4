//! S3: `s3s` reads and writes the wire format and checks every signature; this module stores objects.
//!
//! It implements the calls that the services use: buckets, versioning, plain uploads and uploads in parts, downloads,
//! deletion and listing. Every other call answers 501 `NotImplemented`.

mod catalog;
mod condition;
mod digest;
mod listing;
mod object;
mod parts;
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

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let upload_id = self.begin_upload(&input.bucket, &input.key, &Description::of_parts(&input))?;
        let (bucket, key) = (Some(input.bucket), Some(input.key));
        let output = CreateMultipartUploadOutput { bucket, key, upload_id: Some(upload_id), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request { mut input, headers, trailing_headers, .. } = request;
        self.parts(&input.bucket, &input.key, &input.upload_id)?;
        let mut declared = Declared::in_headers(&headers)?;
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let part = upload::receive(&self.uploads(), body, &declared).await?;
        if let Some(trailers) = trailing_headers.and_then(|trailers| trailers.take()) {
            declared.add_trailers(&trailers);
        }
        declared.verify(&part)?;
        let etag = self.put_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let (size, after) = (listing::page_size(input.max_parts), input.part_number_marker.unwrap_or(0));
        let stored = self.parts(&input.bucket, &input.key, &input.upload_id)?;
        let mut stored = stored.into_iter().filter(|part| part.number > after).collect::<Vec<_>>();
        let is_truncated = stored.len() > size;
        stored.truncate(size);
        let next_part_number_marker = stored.last().filter(|_| is_truncated).map(|part| part.number);
        let part = |part: parts::Part| Part {
            part_number: Some(part.number),
            e_tag: Some(ETag::Strong(part.etag)),
            size: Some(object::signed(part.size_bytes)),
            last_modified: Some(object::timestamp(part.modified_s)),
            ..Default::default()
        };
        Ok(S3Response::new(ListPartsOutput {
            parts: Some(stored.into_iter().map(part).collect()),
            is_truncated: Some(is_truncated),
            next_part_number_marker,
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        let begun = self.begun_uploads(&input.bucket, input.prefix.as_deref().unwrap_or_default())?;
        let upload = |begun: parts::Begun| MultipartUpload {
            key: Some(begun.key),
            upload_id: Some(begun.id),
            initiated: Some(object::timestamp(begun.initiated_s)),
            ..Default::default()
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(begun.into_iter().map(upload).collect()),
            is_truncated: Some(false),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named = named.into_iter().map(|part| Some((part.part_number?, part.e_tag?.value().to_string())));
        let named = named.collect::<Option<Vec<_>>>().ok_or_else(|| s3_error!(MalformedXML))?;
        let object = self.complete(&input.bucket, &input.key, &input.upload_id, &named)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: Some(object.etag()),
            version_id: object.shown_version(),
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.abort(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), StatusCode::NO_CONTENT))
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
