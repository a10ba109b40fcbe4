"""Terraform on a copy of infra/. The only difference: it may be destroyed."""

import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import struct
import subprocess
import time
import zipfile

import iam

FUNCTIONS = ("check", "report", "count", "publish", "sweep", "verify")
PLUGIN = "registry.terraform.io/hashicorp/aws"
# Three times the longest step, an apply, which waits until each service is stable.
STEP_TIMEOUT_S = 400


class Skipped(Exception):
    """The test cannot run here; the text is the reason."""


class Failed(Exception):
    """A step of Terraform failed; the text is its output."""


def provider_mirror():
    """The folder above a `registry.terraform.io`, from which the provider is installed without a network."""
    named = os.environ.get("TIDEGATE_PROVIDER_MIRROR")
    if named:
        return pathlib.Path(named)
    places = [
        os.environ.get("TF_PLUGIN_CACHE_DIR"),
        "~/.terraform.d/plugins",
        "/usr/share/terraform/plugins",
        "/usr/local/share/terraform/plugins",
    ]
    for place in filter(None, places):
        if (pathlib.Path(place).expanduser() / PLUGIN).is_dir():
            return pathlib.Path(place).expanduser()
    search = [
        "find",
        "/",
        "-maxdepth",
        "6",
        "(",
        "-path",
        "/proc",
        "-o",
        "-path",
        "/sys",
        ")",
        "-prune",
        "-o",
        "-type",
        "d",
        "-path",
        f"*/{PLUGIN}",
        "-print",
        "-quit",
    ]
    found = subprocess.run(search, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return pathlib.Path(found.removesuffix(f"/{PLUGIN}")) if found else None


def packages(root, scratch):
    """A folder of `<function>/bootstrap.zip` that run on this machine: the packages for Lambda, or the binaries of
    `cargo build`, packed here. The newer ones are used: old packages would test old code."""
    built, debug = root / "target/lambda", root / "target/debug"
    if all(_is_newer(built / name / "bootstrap.zip", debug / name) for name in FUNCTIONS):
        return built
    folder = scratch / "packages"
    for name in FUNCTIONS:
        binary = debug / name
        if not binary.exists():
            raise Failed(f"{binary} is missing: cargo build --bins")
        (folder / name).mkdir(parents=True)
        stripped = folder / name / "bootstrap"
        subprocess.run(["strip", "-o", stripped, binary], timeout=120, check=True)
        with zipfile.ZipFile(folder / name / "bootstrap.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(stripped, "bootstrap")
    return folder


def architecture():
    """Lambda's name of this machine's processor."""
    return {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]


def _is_newer(package, binary):
    """Whether the `bootstrap` of a zip is an ELF file for this processor, and not older than a binary."""
    try:
        if binary.exists() and package.stat().st_mtime < binary.stat().st_mtime:
            return False
        with zipfile.ZipFile(package) as archive, archive.open("bootstrap") as binary:
            head = binary.read(20)
    except (OSError, KeyError, zipfile.BadZipFile):
        return False
    return (
        head[:4] == b"\x7fELF"
        and {62: "x86_64", 183: "arm64"}.get(struct.unpack("<H", head[18:20])[0]) == architecture()
    )


@dataclasses.dataclass
class Stack:
    """The stack in a temporary folder, and the duration of each step."""

    folder: pathlib.Path
    environment: dict
    seconds: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def copied(cls, infra, folder, endpoint, region, mirror, variables):
        shutil.copytree(
            infra, folder, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*", "tests", "examples", "bootstrap")
        )
        lift_protection(folder)
        settings = folder / "offline.tfrc"
        settings.write_text(
            f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": region,
            "AWS_ACCESS_KEY_ID": iam.ADMIN_KEY,
            "AWS_SECRET_ACCESS_KEY": iam.ADMIN_SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Otherwise calls that the stand-in does not have are retried for ten minutes.
            "AWS_MAX_ATTEMPTS": "2",
        }
        built = cls(folder, environment)
        built.run("init", "init", "-input=false", "-no-color", "-lockfile=readonly")
        built.set(variables)
        return built

    def set(self, variables):
        (self.folder / "proof.auto.tfvars.json").write_text(json.dumps(variables))

    def run(self, step, *arguments, accepted=(0,)):
        """Runs one command. Returns its standard output and exit code."""
        started = time.monotonic()
        done = subprocess.run(
            ["terraform", *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=STEP_TIMEOUT_S, check=False,
        )  # fmt: skip
        self.seconds[step] = time.monotonic() - started
        (self.folder / f"{step}.log").write_text(done.stdout)
        if done.returncode not in accepted:
            raise Failed(f"terraform {step} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout, done.returncode

    def apply(self, step="apply"):
        self.run(step, "apply", "-auto-approve", "-input=false", "-no-color")
        return {name: output["value"] for name, output in json.loads(self.run("output", "output", "-json")[0]).items()}

    def resources(self):
        """Addresses of all resources in Terraform's state."""
        return [
            line
            for line in self.run("state", "state", "list")[0].splitlines()
            if ".data." not in line and not line.startswith("data.")
        ]

    def plan(self):
        """The changes in a plan; empty if there are none."""
        text, code = self.run("plan", "plan", "-input=false", "-no-color", "-detailed-exitcode", accepted=(0, 2))
        return text if code else ""

    def destroy(self):
        self.run("destroy", "destroy", "-auto-approve", "-input=false", "-no-color")


def lift_protection(folder):
    """An override file beside each file with `prevent_destroy`: otherwise the test could not delete its stack."""
    for path in folder.rglob("*.tf"):
        blocks = re.findall(r'^resource "(\w+)" "(\w+)" \{\n(.*?)^\}', path.read_text(), re.DOTALL | re.MULTILINE)
        lifted = [
            f'resource "{kind}" "{name}" {{\n  lifecycle {{\n    prevent_destroy = false\n  }}\n}}\n'
            for kind, name, body in blocks
            if "prevent_destroy" in body
        ]
        if lifted:
            path.with_name(f"{path.stem}_lift_override.tf").write_text("\n".join(lifted))
