//! `tidegate import`: from what another service exports to drafts here, with a report of what could not
//! be carried. Nothing is ever activated.

mod builder;
pub mod builder_policy;
mod builder_regex;
mod exosite;
mod hawkbit;
mod images;
mod kaa;
mod record;
mod rsql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::{ProductId, Version};
use tidegate_wire::definition::Definition;
use tidegate_wire::{body_limits, strict_json};

use crate::api_client::{ApiClient, ApiPath};
use crate::arguments::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{self, Output, Tone, clean};
use crate::publish;
use images::{Found, Images};
use record::{Record, WantedFile};
use tidegate_wire::route::PublishRoute;

/// Where an export comes from.
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
    /// Where it comes from
    #[arg(long, value_name = "builder|kaa|exosite|hawkbit", hide_possible_values = true)]
    pub from: Source,
    /// Folder with the images: found by name or SHA-256, they are uploaded
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Take only what the export says is of this product (hawkBit: sets of this name)
    #[arg(long, value_name = "NAME")]
    pub source_product: Option<String>,
    /// Who gets what says of nobody who gets it: hawkBit sets that no filter assigns, Exosite packages [default: nobody]
    #[arg(long, value_name = "EXPR")]
    pub policy: Option<String>,
    /// Create nothing, only say what would be
    #[arg(long)]
    pub dry_run: bool,
    /// Folder for the definitions, one file for each version
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Nothing was created, because nothing should be.
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
    /// The import broke off before it.
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
    fn lost_something(&self) -> bool {
        !self.record.not_carried.is_empty() || matches!(self.fate, Fate::Skipped(_) | Fate::ExistsWithOtherContent)
    }
}

/// Imports an export.
pub fn run(args: &ImportArgs, common: &Common, output: &Output) -> CommandResult {
    let product = common.product()?;
    let product_id = ProductId::new(product).map_err(|error| CommandError::Usage(format!("--product: {error}")))?;
    if let Some(policy) = &args.policy {
        Policy::parse(policy, &mut Slots::new()).map_err(|error| CommandError::Usage(format!("--policy: {error}")))?;
    }
    // Asked for before anything is written, so that a forgotten key costs nothing.
    let client = if args.dry_run { None } else { Some(common.operator()?) };
    let records = of_one_product(args, read(args)?)?;
    let mut images = args.images.as_deref().map(Images::in_folder).transpose()?;
    let mut imports = Vec::with_capacity(records.len());
    let mut seen = BTreeSet::new();
    for record in records {
        imports.push(prepare(record, &mut seen, images.as_mut(), args.from, &product_id)?);
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
        lossy => Err(CommandError::NotAllCarried(format!(
            "{lossy} of {} records could not be carried as they are; the report names what",
            imports.len()
        ))),
    }
}

fn read(args: &ImportArgs) -> CommandResult<Vec<Record>> {
    let bytes = std::fs::read(&args.file).map_err(|cause| CommandError::file("read", &args.file, &cause))?;
    let bad = |message: &str| CommandError::BadInput(format!("{}: {message}", args.file.display()));
    let document = strict_json::parse(&bytes, body_limits::EXPORT)
        .map_err(|error| bad(&error.message.replace("the body", "it")))?;
    let policy = args.policy.as_deref();
    let records = match args.from {
        Source::Builder => builder::read(&document),
        Source::Kaa => kaa::read(&document),
        Source::Exosite => exosite::read(&document, policy),
        Source::Hawkbit => hawkbit::read(&document, policy),
    };
    let mut records = records.map_err(|error| bad(error.sentence()))?;
    if let (Some(why), Some(last)) = (missing_pages(&document, records.len()), records.last_mut()) {
        last.lose(why);
    }
    Ok(records)
}

/// Services answer long lists by the page, and say so beside the list.
fn missing_pages(document: &Value, count: usize) -> Option<String> {
    let says_more = match document.get("next") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let total = document.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    let is_one_page = says_more || total.is_some_and(|total| total > count);
    is_one_page.then(|| "the export is one page of several: what comes after this record is not in it".to_owned())
}

/// Nothing ever crosses from one product to another, so an export of several must be told which.
fn of_one_product(args: &ImportArgs, records: Vec<Record>) -> CommandResult<Vec<Record>> {
    if let Some(wanted) = &args.source_product {
        let of_it = |record: &Record| record.line.as_ref() == Some(wanted);
        let kept: Vec<Record> = records.into_iter().filter(of_it).collect();
        return match kept.is_empty() {
            true => {
                Err(CommandError::Usage(format!("--source-product: the export has nothing of `{}`", clean(wanted))))
            }
            false => Ok(kept),
        };
    }
    let lines: BTreeSet<&str> = records.iter().filter_map(|record| record.line.as_deref()).collect();
    // A hawkBit set has no product; its name often is one, but need not be.
    match lines.len() > 1 && args.from != Source::Hawkbit {
        true => Err(CommandError::Usage(format!(
            "the export has several products; say which with --source-product: {}",
            lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join(", ")
        ))),
        false => Ok(records),
    }
}

/// Finds the files of a record, and asks whether the service would take its definition.
fn prepare(
    mut record: Record,
    seen: &mut BTreeSet<String>,
    mut images: Option<&mut Images>,
    source: Source,
    product: &ProductId,
) -> CommandResult<Import> {
    if let Some(why) = record.skipped.take() {
        return Ok(skipped(record, why));
    }
    if let Err(cause) = Version::parse(&record.version) {
        let why = format!("`{}` is not a SemVer version: {cause}", record.version);
        return Ok(skipped(record, why));
    }
    if !seen.insert(record.version.clone()) {
        return Ok(skipped(record, "the export has this version already".into()));
    }
    if source == Source::Kaa
        && let (Some(images), Some(name)) = (images.as_deref_mut(), kaa::linked_file(&record))
        && images.has(&name)
    {
        record.remark(format!("specification: {name} is stored here as well, and offered as a file"));
        record.set("kind", "file");
        record.definition.remove("payload");
        record.files.push(WantedFile { name, ..WantedFile::default() });
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = record.files.iter().find(|file| !names.insert(file.name.as_str())) {
        let why = format!("two of its files have the name {}", twice.name);
        return Ok(skipped(record, why));
    }
    let mut found = Vec::new();
    let mut files = Vec::new();
    for wanted in std::mem::take(&mut record.files) {
        match images::look_for(&wanted, images.as_deref_mut())? {
            Found::Here(image, notes) => {
                record.remarks.extend(notes);
                files.push(json!({"name": image.name, "sha256": image.sha256, "size": image.size_bytes}));
                found.push(image);
            }
            Found::Elsewhere { sha256, size_bytes, lost, remark } => {
                record.not_carried.extend(lost);
                record.remarks.extend(remark);
                files.push(json!({"name": wanted.name, "sha256": sha256, "size": size_bytes}));
            }
            Found::Nowhere(why) => return Ok(skipped(record, why)),
        }
    }
    if !files.is_empty() {
        record.set("files", files);
    }
    Ok(match Definition::from_value(Value::Object(record.definition.clone()), product) {
        Ok(_) => Import { record, images: found, fate: Fate::NotTried },
        Err(error) => skipped(record, format!("the service would not take it: {}", error.message)),
    })
}

fn skipped(record: Record, why: String) -> Import {
    Import { record, images: Vec::new(), fate: Fate::Skipped(why) }
}

fn write_definitions(folder: &Path, imports: &[Import]) -> CommandResult {
    std::fs::create_dir_all(folder).map_err(|cause| CommandError::file("create", folder, &cause))?;
    for import in imports.iter().filter(|import| import.fate == Fate::NotTried) {
        let path = folder.join(format!("{}.json", import.record.version));
        let text = format!("{:#}\n", json!(import.record.definition));
        std::fs::write(&path, text).map_err(|cause| CommandError::file("write", &path, &cause))?;
    }
    Ok(())
}

fn create_drafts(client: &ApiClient, product: &str, imports: &mut [Import], output: &Output) -> CommandResult {
    for import in imports.iter_mut().filter(|import| import.fate == Fate::NotTried) {
        import.fate = match create_draft(client, product, import, output) {
            Ok(fate) => fate,
            // What the service refuses of one update says nothing of the next.
            Err(CommandError::Refused { status: 400, code, message, .. }) => {
                Fate::Skipped(format!("the service refused it: {message} ({code})"))
            }
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

fn create_draft(client: &ApiClient, product: &str, import: &Import, output: &Output) -> CommandResult<Fate> {
    let existed = match client.get(&ApiPath::update(PublishRoute::ShowUpdate, product, &import.record.version)) {
        Ok(_) => true,
        Err(CommandError::Refused { status: 404, .. }) => false,
        Err(error) => return Err(error),
    };
    let path = ApiPath::product(PublishRoute::CreateUpdate, product);
    let body = Value::Object(import.record.definition.clone());
    let mut created = match publish::create(client, &path, &body) {
        Ok(created) => created,
        Err(CommandError::Refused { code, .. }) if code == "version_exists" => return Ok(Fate::ExistsWithOtherContent),
        Err(error) => return Err(error),
    };
    let asked = created.uploads.len();
    created.uploads.retain(|upload| import.images.iter().any(|image| image.name == upload.name));
    let missing_bytes = asked.saturating_sub(created.uploads.len());
    publish::upload_all(client, &path, &body, &created, &import.images, output)?;
    Ok(match existed {
        true => Fate::ExistsAlready { state: created.state, missing_bytes },
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
