//! `tidegate import`: from what another service exports to drafts here, with a report of what could not
//! be carried. Nothing is ever activated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tidegate_core::ProductId;
use tidegate_core::policy::{Policy, Slots};
use tidegate_import::{Error, FileHash, Images, Importer, Prepared, Record};

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{self, Output, Tone, clean};
use crate::publish;
use crate::upload::Draft;
use tidegate_wire::route::PublishRoute;

/// The service that an export comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Software records of EmbedThis Builder.
    Builder,
    /// Software definitions of Kaa.
    Kaa,
    /// Package content of an Exosite Murano product.
    Exosite,
    /// Distribution sets of Eclipse hawkBit.
    Hawkbit,
}

impl From<Source> for tidegate_import::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::Builder => Self::Builder,
            Source::Kaa => Self::Kaa,
            Source::Exosite => Self::Exosite,
            Source::Hawkbit => Self::Hawkbit,
        }
    }
}

/// Options of `tidegate import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 6 says that something could not be carried; the report names it. docs/import.md says \
                        what each export must look like, and what becomes of it."
)]
pub struct ImportArgs {
    /// The export, JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Service that the export comes from
    #[arg(long, value_name = "builder|kaa|exosite|hawkbit", hide_possible_values = true)]
    pub from: Source,
    /// Folder with the images; they are found by name or SHA-256, and uploaded
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Take only the records of this product of the export (hawkBit: sets with this name)
    #[arg(long, value_name = "NAME")]
    pub source_product: Option<String>,
    /// Policy for records without one: hawkBit sets that no filter assigns, Exosite packages [default: no device]
    #[arg(long, value_name = "EXPR")]
    pub policy: Option<String>,
    /// Create nothing, only print the result
    #[arg(long)]
    pub dry_run: bool,
    /// Write the definitions into this folder, one file for each version
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Result of the import of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It could be a draft; nothing was to be created.
    Readable,
    Created {
        missing_bytes: usize,
    },
    ExistsAlready {
        state: String,
        missing_bytes: usize,
    },
    ExistsWithOtherContent,
    Skipped(String),
    /// It was not tried yet.
    NotTried,
}

impl Fate {
    fn code(&self) -> &'static str {
        match self {
            Fate::Readable => "readable",
            Fate::Created { .. } => "draft_created",
            Fate::ExistsAlready { .. } => "exists_already",
            Fate::ExistsWithOtherContent => "exists_with_other_content",
            Fate::Skipped(_) => "skipped",
            Fate::NotTried => "not_tried",
        }
    }

    fn sentence(&self) -> String {
        let waiting = |missing: usize| match missing {
            0 => String::new(),
            missing => format!(", waits for the bytes of {missing}"),
        };
        match self {
            Fate::Readable => "would be a draft".into(),
            Fate::Created { missing_bytes } => format!("draft created{}", waiting(*missing_bytes)),
            Fate::ExistsAlready { state, missing_bytes } => {
                format!("exists already, {}{}", clean(state), waiting(*missing_bytes))
            }
            Fate::ExistsWithOtherContent => "exists with other content, left as it is".into(),
            Fate::Skipped(_) => "skipped".into(),
            Fate::NotTried => "not tried".into(),
        }
    }
}

/// A record on its way to a draft.
struct Import {
    record: Record,
    images: Vec<publish::Image>,
    fate: Fate,
}

impl Import {
    fn new(prepared: Prepared) -> Self {
        let Prepared { mut record, images } = prepared;
        let image = |tidegate_import::Image { path, name, sha256, size_bytes }| publish::Image {
            path,
            name,
            sha256,
            size_bytes,
        };
        let fate = record.skipped.take().map_or(Fate::NotTried, Fate::Skipped);
        Self { record, images: images.into_iter().map(image).collect(), fate }
    }

    fn lost_something(&self) -> bool {
        !self.record.not_carried.is_empty() || matches!(self.fate, Fate::Skipped(_) | Fate::ExistsWithOtherContent)
    }
}

/// Imports an export.
pub fn run(args: &ImportArgs, common: &Common, output: &Output) -> CommandResult {
    let product = common.product()?;
    let product_id =
        ProductId::new(product).map_err(|error| CommandError::usage(format!("--product: {error}")).because(error))?;
    if let Some(policy) = &args.policy {
        Policy::parse(policy, &mut Slots::new())
            .map_err(|error| CommandError::usage(format!("--policy: {error}")).because(error))?;
    }
    // Asked for before anything is written, so that a forgotten key costs nothing.
    let client = if args.dry_run { None } else { Some(common.operator()?) };
    let records = read(args)?;
    let images = args.images.as_deref().map(|folder| Images::in_folder(folder, hash)).transpose().map_err(failed)?;
    let mut importer = Importer::new(args.from.into(), &product_id, images);
    let mut imports = Vec::with_capacity(records.len());
    for record in records {
        imports.push(Import::new(importer.prepare(record).map_err(failed)?));
    }
    if let Some(folder) = &args.output {
        write_definitions(folder, &imports)?;
    }
    let result = match &client {
        Some(client) => create_drafts(client, product, &mut imports, output),
        None => Ok(()),
    };
    report(args, product, &imports, output)?;
    result?;
    match imports.iter().filter(|import| import.lost_something()).count() {
        0 => Ok(()),
        lossy => Err(CommandError::not_all_carried(format!(
            "{lossy} of {} records could not be carried as they are; the report names what",
            imports.len()
        ))),
    }
}

fn read(args: &ImportArgs) -> CommandResult<Vec<Record>> {
    let export = std::fs::read(&args.file).map_err(|cause| CommandError::file("read", &args.file, cause))?;
    let source = args.from.into();
    let records = tidegate_import::read(&export, source, args.policy.as_deref()).map_err(|cause| {
        CommandError::bad_input(format!("{}: {}", args.file.display(), clean(&cause.to_string()))).because(cause)
    })?;
    tidegate_import::of_one_product(records, source, args.source_product.as_deref()).map_err(failed)
}

/// An error of the import as an error of the command, with the option that helps.
fn failed(error: Error) -> CommandError {
    let message = clean(&error.to_string());
    match error {
        Error::NothingOf(_) => CommandError::usage(format!("--source-product: {message}")).because(error),
        Error::SeveralProducts(lines) => {
            let lines = clean(&lines.join(", "));
            CommandError::usage(format!("the export has several products; say which with --source-product: {lines}"))
        }
        Error::File { path, source } => CommandError::file("read", &path, source),
        error => CommandError::bad_input(message).because(error),
    }
}

/// Hashes an image, with a bar that shows the progress.
fn hash(path: &Path) -> io::Result<FileHash> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (sha256, size_bytes) = publish::hash_open(&mut file, &name, length)?;
    Ok(FileHash { sha256, size_bytes })
}

fn write_definitions(folder: &Path, imports: &[Import]) -> CommandResult {
    std::fs::create_dir_all(folder).map_err(|cause| CommandError::file("create", folder, cause))?;
    for import in imports.iter().filter(|import| import.fate == Fate::NotTried) {
        let path = folder.join(format!("{}.json", import.record.version));
        let text = format!("{:#}\n", json!(import.record.definition));
        std::fs::write(&path, text).map_err(|cause| CommandError::file("write", &path, cause))?;
    }
    Ok(())
}

fn create_drafts(client: &ApiClient, product: &str, imports: &mut [Import], output: &Output) -> CommandResult {
    for import in imports.iter_mut().filter(|import| import.fate == Fate::NotTried) {
        import.fate = match create_draft(client, product, import, output) {
            Ok(fate) => fate,
            // The service refuses this update; it may accept the next one.
            Err(error) if error.status() == Some(400) => Fate::Skipped(format!("the service refused it: {error}")),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

fn create_draft(client: &ApiClient, product: &str, import: &Import, output: &Output) -> CommandResult<Fate> {
    let existed = match client.get(&ApiPath::update(PublishRoute::ShowUpdate, product, &import.record.version)) {
        Ok(_) => true,
        Err(error) if error.status() == Some(404) => false,
        Err(error) => return Err(error),
    };
    let body = Value::Object(import.record.definition.clone());
    let mut created = match publish::create(client, product, &body) {
        Ok(created) => created,
        Err(error) if error.code() == "version_exists" => return Ok(Fate::ExistsWithOtherContent),
        Err(error) => return Err(error),
    };
    let asked = created.uploads.len();
    created.uploads.retain(|upload| import.images.iter().any(|image| image.name == upload.name));
    let missing_bytes = asked.saturating_sub(created.uploads.len());
    Draft { client, product, body: &body, images: &import.images }.upload_all(&created, output)?;
    Ok(match existed {
        true => Fate::ExistsAlready { state: created.state.name().to_string(), missing_bytes },
        false => Fate::Created { missing_bytes },
    })
}

fn report(args: &ImportArgs, product: &str, imports: &[Import], output: &Output) -> CommandResult {
    let fate = |import: &Import| match (&import.fate, args.dry_run) {
        (Fate::NotTried, true) => Fate::Readable,
        (fate, _) => fate.clone(),
    };
    let records: Vec<Value> = imports.iter().map(|import| document(import, &fate(import))).collect();
    let lossy = imports.iter().filter(|import| import.lost_something()).count();
    output.document(&json!({
        "product": product, "dry_run": args.dry_run, "all_carried": lossy == 0, "records": records,
    }))?;
    let mut table = output::table(&["VERSION", "RESULT", "NOT CARRIED", "RECORD"], &[2]);
    for import in imports {
        let record = &import.record;
        table.add_row([
            clean(&record.version),
            fate(import).sentence(),
            record.not_carried.len().to_string(),
            clean(&record.place),
        ]);
    }
    output.table(&table)?;
    for import in imports {
        notes(import, output)?;
    }
    let drafts = imports.iter().filter(|import| !matches!(import.fate, Fate::Skipped(_)));
    if args.dry_run && args.output.is_none() {
        for import in drafts {
            output.line("")?;
            output.line(format!("{:#}", json!(import.record.definition)))?;
        }
    } else if let Some(first) = drafts.map(|import| clean(&import.record.version)).next() {
        let product = clean(product);
        output.line("")?;
        output.line(match args.dry_run {
            true => "next: read the definitions, then import again without --dry-run".to_owned(),
            false => format!("next: tidegate updates show {first} --product {product}"),
        })?;
    }
    Ok(())
}

fn notes(import: &Import, output: &Output) -> CommandResult {
    let Import { record, fate, .. } = import;
    let skipped = if let Fate::Skipped(why) = fate { Some(why) } else { None };
    if skipped.is_none() && record.not_carried.is_empty() && record.remarks.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.line(format!("{} ({})", output.paint(Tone::Strong, &clean(&record.version)), clean(&record.place)))?;
    let kinds = [
        ("skipped", Tone::Bad, skipped.into_iter().collect::<Vec<_>>()),
        ("not carried", Tone::Bad, record.not_carried.iter().collect()),
        ("note", Tone::Faint, record.remarks.iter().collect()),
    ];
    for (kind, tone, texts) in kinds {
        for text in texts {
            output.line(format!("  {}: {}", output.paint(tone, kind), clean(text)))?;
        }
    }
    Ok(())
}

fn document(import: &Import, fate: &Fate) -> Value {
    let Import { record, .. } = import;
    let mut fields = BTreeMap::from([
        ("record", json!(record.place)),
        ("version", json!(record.version)),
        ("result", json!(fate.code())),
        ("not_carried", json!(record.not_carried)),
        ("notes", json!(record.remarks)),
    ]);
    match fate {
        Fate::Skipped(why) => drop(fields.insert("reason", json!(why))),
        Fate::Created { missing_bytes } | Fate::ExistsAlready { missing_bytes, .. } => {
            fields.insert("files_without_bytes", json!(missing_bytes));
            fields.insert("definition", json!(record.definition));
        }
        _ => drop(fields.insert("definition", json!(record.definition))),
    }
    json!(fields)
}
