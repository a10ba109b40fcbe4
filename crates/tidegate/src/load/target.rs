//! The service under load: its address and the credentials for it.

use serde_json::Value;
use ureq::http::Uri;

use super::LoadArgs;
use super::watcher::Watcher;
use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::token::token_of;
use crate::update;
use tidegate_core::State;
use tidegate_wire::operator::UpdateView;
use tidegate_wire::route::PublishRoute;

/// A service that may get load.
#[derive(Debug)]
pub(super) struct Target {
    common: Common,
    product: String,
    /// The product's token, which every device of the fleet sends.
    token: String,
    operator: Option<ApiClient>,
}

impl Target {
    /// Collects the address and the credentials.
    ///
    /// # Errors
    /// When the service is on another machine and `--allow-remote` is not given, or when there is no token for devices.
    pub(super) fn new(args: &LoadArgs, common: &Common) -> CommandResult<Self> {
        let api = args.url.clone().unwrap_or_else(|| common.api.clone());
        let common = Common { api, ..common.clone() };
        let product = common.product()?.to_owned();
        if !args.allow_remote && !is_loopback(&common.api) {
            return Err(CommandError::failed(
                "not_loopback",
                format!(
                    "{} is not on this machine: a load there costs money and may look like an attack; --allow-remote \
                     if it is meant",
                    crate::output::clean(&common.api)
                ),
            ));
        }
        let operator = common.can_operate()?.then(|| common.operator()).transpose()?;
        let token = match (&args.token, &operator) {
            (Some(token), _) if token.starts_with("d1.") => {
                return Err(CommandError::bad_input(
                    "this is the token of one device; a fleet needs its product's, see `tidegate token product`",
                ));
            }
            (Some(token), _) => token.clone(),
            (None, Some(operator)) => product_token(operator, &product)?,
            (None, None) => {
                return Err(CommandError::usage(
                    "the product's token is needed: --token T, or an operator key or --profile to issue one with",
                ));
            }
        };
        Ok(Self { common, product, token, operator })
    }

    /// The address of the service.
    pub(super) fn api(&self) -> &str {
        &self.common.api
    }

    /// The product.
    pub(super) fn product(&self) -> &str {
        &self.product
    }

    /// A client of a device. It has connections of its own.
    ///
    /// # Errors
    /// When the address is invalid.
    pub(super) fn device(&self) -> CommandResult<ApiClient> {
        self.common.device(self.token.clone())
    }

    /// A watcher of the limits, if the command has an operator's credentials.
    ///
    /// # Errors
    /// When the service refuses the first look.
    pub(super) fn watcher(&self) -> CommandResult<Option<Watcher>> {
        self.operator.clone().map(|client| Watcher::new(client, &self.product)).transpose()
    }

    /// The version of idle devices: the given one, or the product's highest.
    ///
    /// # Errors
    /// When no version is given and the command has no operator's credentials.
    pub(super) fn newest(&self, said: Option<&String>, otherwise: &str) -> CommandResult<String> {
        if let Some(version) = said {
            return Ok(version.clone());
        }
        let operator = self.operator.as_ref().ok_or_else(|| {
            CommandError::usage("say which version idle devices run: --newest V; with an operator key it is looked up")
        })?;
        let listed = operator.items(&ApiPath::product(PublishRoute::ListUpdates, &self.product), None)?;
        let updates = update::read_all::<UpdateView>(listed, "update")?;
        let published = updates.iter().filter(|update| update.state != State::Draft);
        let newest = published.filter_map(|update| semver::Version::parse(update.version()).ok()).max();
        Ok(newest.map_or_else(|| otherwise.to_owned(), |version| version.to_string()))
    }
}

fn product_token(operator: &ApiClient, product: &str) -> CommandResult<String> {
    let settings = operator.get(&ApiPath::product(PublishRoute::ShowProduct, product))?;
    if settings.get("product_tokens").and_then(Value::as_str) == Some("refuse") {
        return Err(CommandError::failed(
            "product_tokens_refused",
            format!(
                "{} refuses product tokens, and a fleet shares one: `tidegate settings --product-tokens accept`, best \
                 for a product that is only there for this",
                crate::output::clean(product)
            ),
        ));
    }
    token_of(&operator.put(&ApiPath::product(PublishRoute::IssueProductToken, product))?)
}

/// True if an address names this machine without a name server.
fn is_loopback(api: &str) -> bool {
    let address = api.parse::<Uri>().ok();
    let host = address.as_ref().and_then(Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for here in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9/",
            "http://localhost:1",
            "http://[::1]:8080",
            "http://LOCALHOST",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "https://abc.execute-api.eu-west-1.amazonaws.com",
            "http://192.168.0.1:8080",
            "http://0.0.0.0:8080",
            "http://localhost.example.com",
            "http://127.0.0.1@example.com/",
            "http://127.0.0.1.example.com/",
            "http://[::2]:8080",
            "nonsense",
            "",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
