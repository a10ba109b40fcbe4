//! The wire formats of simulated devices: what a device sends, and how it reads the answer.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tidegate_core::Version;

use crate::named::named;
use crate::simulator::device::Device;
use crate::simulator::requests::{self, Answer};
use crate::simulator::world::Ask;

named! {
    /// A wire format.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Speech {
        /// The service's own.
        Native = "native",
        /// Ioto's agents.
        Ioto = "ioto",
        /// hawkBit's controllers.
        Hawkbit = "hawkbit",
        /// Exosite's devices.
        Exosite = "exosite",
        /// Kaa's endpoints.
        Kaa = "kaa",
    }
}

/// A message of a device.
#[derive(Debug, Clone)]
pub enum Message {
    /// It asks for an update. If the format has it, it says its version too.
    Ask(Version),
    /// It says its version.
    Runs(Version),
    /// It reads an action of hawkBit.
    Look(String),
    /// Its user agrees to an action of hawkBit, or does not.
    Consent {
        /// The path of the action.
        action: String,
        /// The user agrees.
        agrees: bool,
    },
    /// It gives up an action of hawkBit that is cancelled.
    GiveUp(String),
    /// It reports a status of an offer.
    Status(Offer, &'static str),
}

/// An offer, as far as a device must know it to report on it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The version.
    pub version: Version,
    /// The update's id, if the format has it.
    pub update: Option<String>,
    /// The path of hawkBit's action.
    pub action: Option<String>,
}

/// One fact that a device reads in an answer.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An update.
    Offer(Offer),
    /// The service asks for its version.
    AskedForVersion,
    /// There is something behind a link.
    Deployment(String),
    /// The user is asked.
    Question(String),
    /// An action is cancelled.
    Cancelled(String),
}

impl Speech {
    /// Returns true if a device says its version in each request for an update.
    #[must_use]
    pub fn says_its_version_when_it_asks(self) -> bool {
        matches!(self, Self::Native | Self::Ioto | Self::Kaa)
    }

    /// Returns true if such a device can be given an update with or without files, with or without a question to the user.
    #[must_use]
    pub fn can_take(self, has_files: bool, asks_user: bool) -> bool {
        match self {
            Self::Native => true,
            Self::Hawkbit => has_files,
            Self::Ioto => has_files && !asks_user,
            Self::Exosite | Self::Kaa => !asks_user,
        }
    }

    /// The statuses that can answer a message while the store is up.
    #[must_use]
    pub fn answers(self, message: &Message) -> &'static [u16] {
        match (self, message) {
            // A product without an update is unknown.
            (Self::Exosite, Message::Ask(_)) => &[200, 204, 404],
            (_, Message::Ask(_)) => &[200, 404],
            (Self::Hawkbit, Message::Runs(_)) => &[200, 404],
            (Self::Hawkbit, _) => &[200, 404, 410],
            (Self::Exosite, _) => &[204],
            (Self::Kaa, _) => &[200, 404],
            (Self::Native | Self::Ioto, _) => &[200],
        }
    }

    /// A message of `device` as a request with this token; `None` if the format has no word for it.
    #[must_use]
    pub fn request(self, device: &Device, token: &str, message: &Message) -> Option<Ask> {
        match self {
            Self::Native => native(device, token, message),
            Self::Ioto => ioto(device, token, message),
            Self::Hawkbit => hawkbit(device, token, message),
            Self::Exosite => exosite(device, token, message),
            Self::Kaa => kaa(device, token, message),
        }
    }

    /// Reads the answer to a message.
    #[must_use]
    pub fn hear(self, message: &Message, answer: &Answer) -> Vec<Heard> {
        if answer.status != 200 {
            return Vec::new();
        }
        match (self, message) {
            (Self::Native | Self::Ioto, Message::Ask(_)) => offer(answer.text("version"), answer.text("update")),
            (Self::Kaa, Message::Ask(_)) => offer(answer.text("configId"), None),
            (Self::Exosite, Message::Ask(_)) => {
                let text = answer.body.as_str().and_then(|text| text.strip_prefix("config_otau="));
                let config = text.and_then(|text| percent_decode_str(text).decode_utf8().ok());
                let config = config.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                offer(config.as_ref().and_then(|config| config["version"].as_str()), None)
            }
            (Self::Hawkbit, Message::Ask(_)) => {
                let link = |name: &str| {
                    let href = answer.body["_links"][name]["href"].as_str()?;
                    // Behind the host.
                    Some(href.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default())
                };
                let is_asked = link("configData").map(|_| Heard::AskedForVersion);
                let heard = [
                    link("deploymentBase").map(Heard::Deployment),
                    link("confirmationBase").map(Heard::Question),
                    link("cancelAction").map(Heard::Cancelled),
                ];
                is_asked.into_iter().chain(heard.into_iter().flatten()).collect()
            }
            (Self::Hawkbit, Message::Look(action)) => {
                let version = answer.body["deployment"]["chunks"][0]["version"].as_str();
                let with_action = |heard| match heard {
                    Heard::Offer(offer) => Heard::Offer(Offer { action: Some(action.clone()), ..offer }),
                    heard => heard,
                };
                offer(version, None).into_iter().map(with_action).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn offer(version: Option<&str>, update: Option<&str>) -> Vec<Heard> {
    let version = version.and_then(|version| Version::parse(version).ok());
    let offer = version.map(|version| Offer { version, update: update.map(str::to_string), action: None });
    offer.into_iter().map(Heard::Offer).collect()
}

fn native(device: &Device, token: &str, message: &Message) -> Option<Ask> {
    let authorization = [("authorization", token)];
    Some(match message {
        Message::Ask(version) => {
            let body = device.device_json(version).to_string();
            Ask::Check(requests::device("POST", "/v1/check", &authorization, body))
        }
        Message::Status(Offer { update: Some(update), .. }, status) => {
            let body = json!({"id": device.id, "product": device.product, "update": update, "status": status});
            Ask::Report(requests::device("POST", "/v1/report", &authorization, body.to_string()))
        }
        _ => return None,
    })
}

fn ioto(device: &Device, token: &str, message: &Message) -> Option<Ask> {
    let authorization = [("authorization", token)];
    Some(match message {
        Message::Ask(version) => {
            let body = device.device_json(version).to_string();
            Ask::Check(requests::device("POST", "/tok/provision/update", &authorization, body))
        }
        Message::Status(Offer { update: Some(update), .. }, status) => {
            let is_success = is_success(status)?;
            let body = json!({"success": is_success, "id": device.id, "product": device.product, "update": update});
            Ask::Report(requests::device("POST", "/tok/provision/updateReport", &authorization, body.to_string()))
        }
        _ => return None,
    })
}

fn hawkbit(device: &Device, token: &str, message: &Message) -> Option<Ask> {
    let (authorization, base) =
        (format!("TargetToken {token}"), format!("/{}/controller/v1/{}", device.product, device.id));
    let ask = |method: &str, path: &str, body: String| {
        let headers = [("authorization", authorization.as_str()), ("host", "ota.example")];
        requests::device(method, path, &headers, body)
    };
    let feedback = |action: &str, execution: &str, finished: &str, details: &[&str]| {
        let status = json!({"execution": execution, "result": {"finished": finished}, "details": details});
        Ask::Report(ask("POST", &format!("{action}/feedback"), json!({"id": "1", "status": status}).to_string()))
    };
    Some(match message {
        Message::Ask(_) => Ask::Check(ask("GET", &base, String::new())),
        Message::Runs(version) => {
            let body = json!({"data": {"sw_version": version, "memory": "512"}});
            Ask::Check(ask("PUT", &format!("{base}/configData"), body.to_string()))
        }
        Message::Look(action) => Ask::Check(ask("GET", action, String::new())),
        Message::Consent { action, agrees } => {
            let confirmation = if *agrees { "confirmed" } else { "denied" };
            let body = json!({"confirmation": confirmation, "details": []}).to_string();
            Ask::Report(ask("POST", &format!("{action}/feedback"), body))
        }
        Message::GiveUp(action) => feedback(action, "closed", "success", &[]),
        Message::Status(Offer { action: Some(action), .. }, status) => match *status {
            "INSTALL_SUCCESS" => feedback(action, "closed", "success", &[]),
            "INSTALL_ERROR" => feedback(action, "closed", "failure", &["no space"]),
            "DOWNLOAD_ERROR" => feedback(action, "closed", "failure", &["Download failed"]),
            "INSTALL_ABORTED" => feedback(action, "canceled", "none", &[]),
            _ => feedback(action, "proceeding", "none", &[]),
        },
        Message::Status(..) => return None,
    })
}

fn exosite(device: &Device, token: &str, message: &Message) -> Option<Ask> {
    let cik = named_token(device, token);
    let headers = [("x-exosite-cik", cik.as_str())];
    let write = |version: &Version, status: &str| {
        let body = format!("otau_in={}", json!({"version": version, "status": status}));
        Ask::Report(requests::device("POST", "/onep:v1/stack/alias", &headers, body))
    };
    Some(match message {
        Message::Ask(_) => {
            Ask::Check(requests::device("GET", "/onep:v1/stack/alias?config_otau", &headers, String::new()))
        }
        Message::Runs(version) => write(version, "INSTALLED_VERSION"),
        Message::Status(offer, status) => write(&offer.version, status),
        _ => return None,
    })
}

fn kaa(device: &Device, token: &str, message: &Message) -> Option<Ask> {
    let base = format!("/kpc/kp1/{}/cmx_ota/{}", device.product, named_token(device, token));
    let applied = |version: &Version, status: u16| {
        let body = json!({"configId": version, "statusCode": status}).to_string();
        Ask::Report(requests::device("POST", &format!("{base}/applied/json"), &[], body))
    };
    Some(match message {
        Message::Ask(version) => {
            let body = json!({"configId": version}).to_string();
            Ask::Check(requests::device("POST", &format!("{base}/config/json"), &[], body))
        }
        Message::Runs(version) => applied(version, 200),
        Message::Status(offer, status) => applied(&offer.version, if is_success(status)? { 200 } else { 400 }),
        _ => return None,
    })
}

/// A token with the names of its device, as Exosite's and Kaa's clients have it.
fn named_token(device: &Device, token: &str) -> String {
    format!("{}~{}~{token}", device.product, device.id)
}

/// Success or failure, for the formats that know nothing else.
fn is_success(status: &str) -> Option<bool> {
    match status {
        "INSTALL_SUCCESS" => Some(true),
        "INSTALL_ERROR" => Some(false),
        _ => None,
    }
}
