//! The routes of the API: the only list of them.
//!
//! The routers of the functions, the front door, the command, Terraform and the API description all
//! read [`ROUTES`]. A new route is one entry here and one handler: each router matches its own enum
//! exhaustively.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{ApiError, ErrorCode};

/// One method of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The handler.
    pub id: RouteId,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub template: &'static str,
    /// The function that answers.
    pub function: Function,
    /// The proof of identity that the route asks for.
    pub caller: Caller,
    /// The group in the API description.
    pub tag: Tag,
}

/// A Lambda function that answers HTTP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// Decides and offers.
    Check,
    /// Records reports.
    Report,
    /// Serves operators.
    Publish,
}

/// The proof of identity that a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// None: the caller has no identity yet.
    Anyone,
    /// `Authorization: Bearer <token>` of a device or a product.
    DeviceToken,
    /// hawkBit's `Authorization: TargetToken <token>` or `GatewayToken <token>`.
    TargetToken,
    /// Exosite's `X-Exosite-CIK: <token>` or `Authorization: token <token>`.
    Cik,
    /// A device's token in the path, as Kaa has it.
    PathToken,
    /// An IAM signature; on the local cloud, the operator key.
    Operator,
}

/// A group of routes in the API description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The native device API.
    Devices,
    /// The device API for Ioto agents.
    Ioto,
    /// The device API for clients of hawkBit.
    Hawkbit,
    /// The device API for clients of Exosite.
    Exosite,
    /// The device API for endpoints of Kaa.
    Kaa,
    /// Publishing and steering rollouts.
    Updates,
    /// The devices of a product.
    Fleet,
    /// A product's settings and log.
    Product,
    /// Publishing in the words of Kaa's OTA orchestrator.
    Software,
}

/// A set of routes that share a wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// The native device API.
    Native,
    /// The device API for Ioto agents.
    Ioto,
    /// The device API for clients of hawkBit.
    Hawkbit,
    /// The device API for clients of Exosite.
    Exosite,
    /// The device API for endpoints of Kaa.
    Kaa,
    /// The operator API.
    Operator,
    /// Kaa's software API for operators.
    Software,
}

/// Declares the enums of routes and [`ROUTES`] from one table.
macro_rules! routes {
    ($($function:ident $Enum:ident { $(#[doc = $summary:literal] $Id:ident $method:ident $template:literal $Caller:ident $Tag:ident,)* })*) => {
        $(
            #[doc = concat!("A route of the function `", stringify!($function), "`.")]
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
            pub enum $Enum {
                $(#[doc = $summary] $Id,)*
            }

            impl $Enum {
                /// The entry in [`ROUTES`].
                #[must_use]
                pub const fn route(self) -> Route {
                    match self {
                        $(Self::$Id => Route {
                            id: RouteId::$function(Self::$Id),
                            method: stringify!($method),
                            template: $template,
                            function: Function::$function,
                            caller: Caller::$Caller,
                            tag: Tag::$Tag,
                        },)*
                    }
                }
            }
        )*

        /// The handler of a route.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RouteId {
            $(#[doc = concat!("A handler of the function `", stringify!($function), "`.")] $function($Enum),)*
        }

        impl RouteId {
            /// The name of the handler in the API description: `hawkbitPoll`.
            #[must_use]
            pub fn operation_id(self) -> String {
                let name = match self {
                    $($(Self::$function($Enum::$Id) => stringify!($Id),)*)*
                };
                let (first, rest) = name.split_at(1);
                first.to_lowercase() + rest
            }

            /// One sentence on what the route does.
            #[cfg(feature = "schema")]
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self {
                    $($(Self::$function($Enum::$Id) => $summary.trim_ascii(),)*)*
                }
            }
        }

        /// All routes.
        pub const ROUTES: &[Route] = &[$($($Enum::$Id.route(),)*)*];
    };
}

routes! {
    Check CheckRoute {
        /// A device says what it runs and learns what to do.
        Check POST "/v1/check" DeviceToken Devices,
        /// The same for Ioto agents and updaters.
        CheckIoto POST "/tok/provision/update" DeviceToken Ioto,
        /// A device without a token asks for one.
        Register POST "/device/register" Anyone Ioto,

        /// A controller polls.
        HawkbitPoll GET "/{tenant}/controller/v1/{controller}" TargetToken Hawkbit,
        /// A controller sends its attributes.
        HawkbitConfigData PUT "/{tenant}/controller/v1/{controller}/configData" TargetToken Hawkbit,
        /// A controller reads the action that it is to install.
        HawkbitDeployment GET "/{tenant}/controller/v1/{controller}/deploymentBase/{action}" TargetToken Hawkbit,
        /// A controller reads the action that it installed last.
        HawkbitInstalled GET "/{tenant}/controller/v1/{controller}/installedBase/{action}" TargetToken Hawkbit,
        /// A controller reads which action to stop.
        HawkbitCancel GET "/{tenant}/controller/v1/{controller}/cancelAction/{action}" TargetToken Hawkbit,
        /// A controller reads what awaits its user's consent.
        HawkbitConfirmations GET "/{tenant}/controller/v1/{controller}/confirmationBase" TargetToken Hawkbit,
        /// A controller reads the action that awaits its user's consent.
        HawkbitConfirmation GET "/{tenant}/controller/v1/{controller}/confirmationBase/{action}" TargetToken Hawkbit,
        /// A controller lists the files of an action.
        HawkbitArtifacts GET "/{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts" TargetToken Hawkbit,
        /// A controller fetches a file of an action.
        HawkbitDownload GET "/{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts/{file}" TargetToken Hawkbit,
        /// The same without the bytes.
        HawkbitDownloadHead HEAD "/{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts/{file}" TargetToken Hawkbit,

        /// A device reads its resources.
        ExositeRead GET "/onep:v1/stack/alias" Cik Exosite,
        /// A device without a CIK asks for one.
        ExositeActivate POST "/provision/activate" Anyone Exosite,
        /// A device fetches a file.
        ExositeDownload GET "/provision/download" Cik Exosite,

        /// An endpoint asks for its configuration.
        KaaConfig POST "/kpc/kp1/{app_version}/cmx_ota/{token}/config/json" PathToken Kaa,
        /// The same with the number of the request.
        KaaConfigNumbered POST "/kpc/kp1/{app_version}/cmx_ota/{token}/config/json/{request}" PathToken Kaa,
    }
    Report ReportRoute {
        /// A device reports a status.
        Report POST "/v1/report" DeviceToken Devices,
        /// The same for Ioto agents and updaters.
        ReportIoto POST "/tok/provision/updateReport" DeviceToken Ioto,

        /// A controller reports on an installation.
        HawkbitFeedback POST "/{tenant}/controller/v1/{controller}/deploymentBase/{action}/feedback" TargetToken Hawkbit,
        /// A controller reports on a stopped action.
        HawkbitCancelFeedback POST "/{tenant}/controller/v1/{controller}/cancelAction/{action}/feedback" TargetToken Hawkbit,
        /// A controller reports its user's decision.
        HawkbitConfirmationFeedback POST "/{tenant}/controller/v1/{controller}/confirmationBase/{action}/feedback" TargetToken Hawkbit,

        /// A device writes to its resources.
        ExositeWrite POST "/onep:v1/stack/alias" Cik Exosite,
        /// A device writes what it recorded while it was offline.
        ExositeRecord POST "/onep:v1/stack/record" Cik Exosite,

        /// An endpoint says which configuration it applied.
        KaaApplied POST "/kpc/kp1/{app_version}/cmx_ota/{token}/applied/json" PathToken Kaa,
        /// The same with the number of the request.
        KaaAppliedNumbered POST "/kpc/kp1/{app_version}/cmx_ota/{token}/applied/json/{request}" PathToken Kaa,
    }
    Publish PublishRoute {
        /// Shows a product's settings.
        ShowProduct GET "/v1/products/{product}" Operator Product,
        /// Changes a product's settings.
        EditProduct PATCH "/v1/products/{product}" Operator Product,
        /// Stops every rollout of a product.
        StopProduct POST "/v1/products/{product}/stop" Operator Product,
        /// Resumes what the stop of a product paused.
        ResumeStopped POST "/v1/products/{product}/resume-stopped" Operator Product,
        /// Issues the token that all devices of a product may share.
        IssueProductToken PUT "/v1/products/{product}/token" Operator Product,
        /// Revoke the product's shared tokens.
        RevokeProductToken DELETE "/v1/products/{product}/token" Operator Product,
        /// Shows who changed what, and why.
        ShowAudit GET "/v1/products/{product}/audit" Operator Product,

        /// Creates a draft.
        CreateUpdate POST "/v1/products/{product}/updates" Operator Updates,
        /// Lists a product's updates, newest version first.
        ListUpdates GET "/v1/products/{product}/updates" Operator Updates,
        /// Shows an update.
        ShowUpdate GET "/v1/products/{product}/updates/{version}" Operator Updates,
        /// Changes a draft, or what the image of a published update says of itself.
        EditUpdate PATCH "/v1/products/{product}/updates/{version}" Operator Updates,
        /// Changes the policy and the rollout of an update under way.
        EditCampaign PATCH "/v1/products/{product}/updates/{version}/campaign" Operator Updates,
        /// Begins the upload of a draft's file in parts, or goes on with it.
        UploadParts POST "/v1/products/{product}/updates/{version}/upload" Operator Updates,
        /// Deletes a draft, or an update that is withdrawn and not in use.
        DeleteUpdate DELETE "/v1/products/{product}/updates/{version}" Operator Updates,
        /// Verifies the files and starts offering.
        ActivateUpdate POST "/v1/products/{product}/updates/{version}/activate" Operator Updates,
        /// Stops offering until it is resumed.
        PauseUpdate POST "/v1/products/{product}/updates/{version}/pause" Operator Updates,
        /// Offers a paused update again.
        ResumeUpdate POST "/v1/products/{product}/updates/{version}/resume" Operator Updates,
        /// Begins the next phase of a rollout.
        AdvanceUpdate POST "/v1/products/{product}/updates/{version}/advance" Operator Updates,
        /// Ends a rollout that has reached its devices.
        CompleteUpdate POST "/v1/products/{product}/updates/{version}/complete" Operator Updates,
        /// Ends a rollout that went wrong.
        AbortUpdate POST "/v1/products/{product}/updates/{version}/abort" Operator Updates,
        /// Takes an update back.
        WithdrawUpdate POST "/v1/products/{product}/updates/{version}/withdraw" Operator Updates,
        /// Offers a published update again, in another campaign.
        ReopenUpdate POST "/v1/products/{product}/updates/{version}/reopen" Operator Updates,
        /// Takes devices back to an update from later versions.
        RollBackTo POST "/v1/products/{product}/updates/{version}/rollback" Operator Updates,
        /// Gives another try of an update to all devices with one outcome.
        RetryUpdate POST "/v1/products/{product}/updates/{version}/retry" Operator Updates,
        /// Strikes devices as witnesses of an update.
        VoidDevices POST "/v1/products/{product}/updates/{version}/void" Operator Updates,
        /// Assigns an update to devices.
        AssignUpdate PUT "/v1/products/{product}/updates/{version}/assigned" Operator Updates,
        /// Takes the assignment of an update back from devices.
        UnassignUpdate DELETE "/v1/products/{product}/updates/{version}/assigned" Operator Updates,
        /// Lists the devices of an update with one outcome.
        ListUpdateDevices GET "/v1/products/{product}/updates/{version}/devices" Operator Updates,
        /// Counts what the devices of an update said.
        ShowReasons GET "/v1/products/{product}/updates/{version}/reasons" Operator Updates,
        /// Shows a rollout's counters, now and over time.
        ShowMetrics GET "/v1/products/{product}/updates/{version}/metrics" Operator Updates,

        /// Counts devices by version.
        ListVersions GET "/v1/products/{product}/versions" Operator Fleet,
        /// Lists the devices on a version.
        ListDevices GET "/v1/products/{product}/devices" Operator Fleet,
        /// Shows a device and its claims.
        ShowDevice GET "/v1/products/{product}/devices/{device}" Operator Fleet,
        /// Explains what a device's next check-in is answered.
        Why GET "/v1/products/{product}/devices/{device}/why" Operator Fleet,
        /// Gives a device another try of the updates that it did not get.
        RetryDevice POST "/v1/products/{product}/devices/{device}/retry" Operator Fleet,
        /// Puts a device on hold: it is offered nothing.
        HoldDevice POST "/v1/products/{product}/devices/{device}/hold" Operator Fleet,
        /// Pins a device to a version: it is offered no other.
        PinDevice POST "/v1/products/{product}/devices/{device}/pin" Operator Fleet,
        /// Takes a device off hold, and lets it go from its pin.
        ReleaseDevice POST "/v1/products/{product}/devices/{device}/release" Operator Fleet,
        /// Deletes a device.
        DeleteDevice DELETE "/v1/products/{product}/devices/{device}" Operator Fleet,
        /// Shows a device with the audit log about it.
        ExportDevice GET "/v1/products/{product}/devices/{device}/export" Operator Fleet,
        /// Forgets what a device did with every update.
        ForgetDevice POST "/v1/products/{product}/devices/{device}/forget" Operator Fleet,
        /// Tags a device.
        TagDevice PUT "/v1/products/{product}/devices/{device}/tags/{tag}" Operator Fleet,
        /// Removes a tag of a device.
        UntagDevice DELETE "/v1/products/{product}/devices/{device}/tags/{tag}" Operator Fleet,
        /// Issues a device's token.
        IssueToken PUT "/v1/products/{product}/devices/{device}/token" Operator Fleet,
        /// Revokes all tokens of a device.
        RevokeToken DELETE "/v1/products/{product}/devices/{device}/token" Operator Fleet,

        /// Lists the updates of an application.
        ListSoftware GET "/otao/api/v1/applications/{app}/software" Operator Software,
        /// Creates a draft.
        CreateSoftware POST "/otao/api/v1/applications/{app}/software" Operator Software,
        /// Shows an update.
        ShowSoftware GET "/otao/api/v1/applications/{app}/software/{version}" Operator Software,
        /// Moves an update to the state that its rollout strategy names.
        PutSoftware PUT "/otao/api/v1/applications/{app}/software/{version}" Operator Software,
        /// Takes an update back.
        WithdrawSoftware DELETE "/otao/api/v1/applications/{app}/software/{version}" Operator Software,
    }
}

/// The path at which the front door of the local cloud says that it is up. No function has it.
pub const HEALTH_PATH: &str = "/healthz";

/// The characters that stand in a path as they are: RFC 3986's unreserved ones. That is the strictest
/// reading, and the one that AWS signatures use.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes one segment of a path, or one value of a query.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Result of finding a route: the route and the path that it matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'p> {
    /// The route.
    pub route: Route,
    path: &'p str,
}

/// No route for a method and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// The path has routes, but none with the method.
    WrongMethod {
        /// The routes of the path; there is at least one.
        allowed: Vec<Route>,
    },
    /// The path has no route.
    UnknownPath {
        /// The interface to which all paths with this beginning belong, if there is one.
        interface: Option<Interface>,
    },
}

/// Finds the route of a request. `path` is percent-decoded.
///
/// # Errors
/// [`NoRoute`].
pub fn find<'p>(method: &str, path: &'p str) -> Result<Found<'p>, NoRoute> {
    let mut allowed = ROUTES.iter().filter(|route| route.matches(path)).copied().collect::<Vec<_>>();
    if allowed.is_empty() {
        if let Some(interface) = interface_above(path) {
            return Err(NoRoute::UnknownPath { interface: Some(interface) });
        }
        allowed = ROUTES.iter().filter(|route| route.matches_end_of(path)).copied().collect();
    }
    match allowed.iter().find(|route| route.method == method) {
        Some(route) => Ok(Found { route: *route, path }),
        None if allowed.is_empty() => Err(NoRoute::UnknownPath { interface: None }),
        None => Err(NoRoute::WrongMethod { allowed }),
    }
}

/// Returns true if `path` may only be asked by operators, whether it has a route or not.
#[must_use]
pub fn is_for_operators(path: &str) -> bool {
    let begins = |route: &Route| path.starts_with(route.template.split('{').next().unwrap_or_default());
    ROUTES.iter().filter(|route| route.caller == Caller::Operator).any(begins)
}

/// The interface that owns everything below the beginning of `path`. An interface owns the paths below
/// the beginning that all its routes share, if a parameter is part of it: everything below
/// `/{tenant}/controller/v1/{controller}` is hawkBit's.
fn interface_above(path: &str) -> Option<Interface> {
    let segments = path.strip_prefix('/')?.split('/').collect::<Vec<_>>();
    let is_above = |interface: &Interface| {
        let shared = interface.shared_segments();
        shared.len() <= segments.len()
            && shared.iter().zip(&segments).all(|(template, segment)| is_match(template, segment))
    };
    Interface::ALL.into_iter().filter(|interface| interface.owns_a_beginning()).find(is_above)
}

fn is_match(template: &str, segment: &str) -> bool {
    parameter_name(template).is_some() || template == segment
}

/// `product` for `{product}`.
fn parameter_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

impl Route {
    /// The interface that the route is part of.
    #[must_use]
    pub const fn interface(&self) -> Interface {
        self.tag.interface()
    }

    /// The names of the parameters of the template, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.template.split('/').filter_map(parameter_name)
    }

    /// The path with `parameters` in the places of their names, each percent-encoded.
    ///
    /// # Panics
    /// When a parameter of the template is not given.
    #[must_use]
    pub fn path(&self, parameters: &[(&str, &str)]) -> String {
        self.path_encoded(parameters, ENCODED)
    }

    /// The same, percent-encoding only the characters of `encoded`.
    ///
    /// # Panics
    /// When a parameter of the template is not given.
    #[must_use]
    pub fn path_encoded(&self, parameters: &[(&str, &str)], encoded: &'static AsciiSet) -> String {
        let mut path = String::with_capacity(self.template.len());
        for segment in self.template.split('/').skip(1) {
            path.push('/');
            match parameter_name(segment) {
                None => path.push_str(segment),
                Some(name) => {
                    let value = parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
                    let value = value.unwrap_or_else(|| panic!("{} needs the parameter {name}", self.template));
                    path.extend(utf8_percent_encode(value, encoded));
                }
            }
        }
        path
    }

    fn matches(&self, path: &str) -> bool {
        let path = self.interface().trimmed(path);
        let mut template = self.template.split('/');
        let mut path = path.split('/');
        loop {
            match (template.next(), path.next()) {
                (None, None) => return true,
                (Some(template), Some(segment)) if is_match(template, segment) => {}
                _ => return false,
            }
        }
    }

    /// Ioto agents ask for a registration below the path of the API that they know.
    fn matches_end_of(&self, path: &str) -> bool {
        matches!(self.id, RouteId::Check(CheckRoute::Register))
            && path.ends_with(self.template)
            && !is_for_operators(path)
    }
}

impl PublishRoute {
    /// The names of the parameters that its query may have.
    #[must_use]
    pub const fn query(self) -> &'static [&'static str] {
        match self {
            Self::ShowAudit => &["limit", "after", "version"],
            Self::ListUpdates | Self::ListVersions | Self::ListSoftware | Self::ExportDevice => &["limit", "after"],
            Self::ListUpdateDevices => &["limit", "after", "state"],
            Self::ListDevices => &["limit", "after", "version"],
            Self::Why => &["at"],
            _ => &[],
        }
    }
}

impl<'p> Found<'p> {
    /// The value of a parameter of the template; empty, if the template has no such parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &'p str {
        let segments = self.route.template.split('/').zip(self.path.split('/'));
        let mut values = segments.filter(|(template, _)| parameter_name(template) == Some(name));
        values.next().map_or("", |(_, value)| value)
    }
}

impl NoRoute {
    /// The function that answers the request with an error, in the words of its interface.
    #[must_use]
    pub fn function(&self) -> Option<Function> {
        match self {
            Self::WrongMethod { allowed } => allowed.first().map(|route| route.function),
            Self::UnknownPath { interface } => interface.and_then(Interface::first_function),
        }
    }

    /// The interface in whose words the error is answered.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        match self {
            Self::WrongMethod { allowed } => allowed.first().map(Route::interface),
            Self::UnknownPath { interface } => *interface,
        }
    }

    /// The error that answers the request.
    #[must_use]
    pub fn error(&self, method: &str) -> ApiError {
        match self {
            Self::WrongMethod { allowed } => {
                let allowed = allowed.iter().map(|route| route.method).collect::<Vec<_>>().join(" and ");
                let message = format!("this path exists, but not with {method}; it takes {allowed}");
                ApiError::new(ErrorCode::WrongMethod, message)
            }
            Self::UnknownPath { .. } => ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path"),
        }
    }
}

impl Function {
    /// The name of the function, of its binary and of its package.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Report => "report",
            Self::Publish => "publish",
        }
    }
}

impl Tag {
    /// All tags, in the order of the API description.
    pub const ALL: [Self; 9] = [
        Self::Devices,
        Self::Ioto,
        Self::Hawkbit,
        Self::Exosite,
        Self::Kaa,
        Self::Updates,
        Self::Fleet,
        Self::Product,
        Self::Software,
    ];

    /// The name in the API description.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Ioto => "ioto",
            Self::Hawkbit => "hawkbit",
            Self::Exosite => "exosite",
            Self::Kaa => "kaa",
            Self::Updates => "updates",
            Self::Fleet => "fleet",
            Self::Product => "product",
            Self::Software => "software",
        }
    }

    const fn interface(self) -> Interface {
        match self {
            Self::Devices => Interface::Native,
            Self::Ioto => Interface::Ioto,
            Self::Hawkbit => Interface::Hawkbit,
            Self::Exosite => Interface::Exosite,
            Self::Kaa => Interface::Kaa,
            Self::Updates | Self::Fleet | Self::Product => Interface::Operator,
            Self::Software => Interface::Software,
        }
    }
}

impl Interface {
    const ALL: [Self; 7] =
        [Self::Native, Self::Ioto, Self::Hawkbit, Self::Exosite, Self::Kaa, Self::Operator, Self::Software];

    /// hawkBit's clients and people add slashes at the end.
    fn trimmed(self, path: &str) -> &str {
        match self {
            Self::Hawkbit | Self::Operator | Self::Software => path.trim_end_matches('/'),
            Self::Native | Self::Ioto | Self::Exosite | Self::Kaa => path,
        }
    }

    fn routes(self) -> impl Iterator<Item = &'static Route> {
        ROUTES.iter().filter(move |route| route.interface() == self)
    }

    fn first_function(self) -> Option<Function> {
        self.routes().next().map(|route| route.function)
    }

    fn owns_a_beginning(self) -> bool {
        self.shared_segments().iter().any(|segment| parameter_name(segment).is_some())
    }

    /// The segments with which every template of the interface begins.
    fn shared_segments(self) -> Vec<&'static str> {
        let segments = |route: &Route| route.template.split('/').skip(1).collect::<Vec<_>>();
        let shared = self
            .routes()
            .map(segments)
            .reduce(|a, b| a.into_iter().zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a).collect());
        shared.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, expected: &str) {
        let (method, path) = asked.split_once(' ').unwrap();
        let got = match find(method, path) {
            Ok(found) => {
                let values = found
                    .route
                    .parameters()
                    .map(|name| format!(" {name}={}", found.parameter(name)))
                    .collect::<String>();
                found.route.id.operation_id() + &values
            }
            Err(no_route) => {
                let error = no_route.error(method);
                format!("{} {:?} {:?}: {}", error.status(), no_route.interface(), no_route.function(), error.message)
            }
        };
        assert_eq!(got, expected, "{asked}");
    }

    #[test]
    fn a_path_leads_to_its_route_with_its_parameters() {
        check("POST /v1/check", "check");
        check("POST /tok/provision/updateReport", "reportIoto");
        check("GET /lamp/controller/v1/lamp-1", "hawkbitPoll tenant=lamp controller=lamp-1");
        check(
            "POST /lamp/controller/v1/lamp-1/deploymentBase/7/feedback",
            "hawkbitFeedback tenant=lamp controller=lamp-1 action=7",
        );
        check("POST /onep:v1/stack/alias", "exositeWrite");
        check("GET /onep:v1/stack/alias", "exositeRead");
        check("POST /kpc/kp1/lamp/cmx_ota/t/config/json", "kaaConfig app_version=lamp token=t");
        check("POST /kpc/kp1/lamp/cmx_ota/t/config/json/", "kaaConfigNumbered app_version=lamp token=t request=");
        check("GET /v1/products/lamp/updates/1.0.0+b", "showUpdate product=lamp version=1.0.0+b");
        check("DELETE /otao/api/v1/applications/lamp/software/1.0.0", "withdrawSoftware app=lamp version=1.0.0");
    }

    #[test]
    fn some_interfaces_take_slashes_at_the_end() {
        check("GET /lamp/controller/v1/lamp-1//", "hawkbitPoll tenant=lamp controller=lamp-1");
        check("GET /v1/products/lamp/", "showProduct product=lamp");
        check("POST /v1/check/", "404 None None: there is nothing at this path");
        check("GET /onep:v1/stack/alias/", "404 None None: there is nothing at this path");
    }

    #[test]
    fn a_registration_may_come_below_any_path_that_belongs_to_nobody() {
        check("POST /device/register", "register");
        check("POST /api/public/device/register", "register");
        check(
            "GET /api/device/register",
            "405 Some(Ioto) Some(Check): this path exists, but not with GET; it takes POST",
        );
        check(
            "POST /lamp/controller/v1/lamp-1/device/register",
            "404 Some(Hawkbit) Some(Check): there is nothing at this path",
        );
        check(
            "POST /v1/products/lamp/device/register",
            "404 Some(Operator) Some(Publish): there is nothing at this path",
        );
    }

    #[test]
    fn a_wrong_method_is_answered_with_those_that_the_path_takes() {
        check(
            "DELETE /onep:v1/stack/alias",
            "405 Some(Exosite) Some(Check): this path exists, but not with DELETE; it takes GET and POST",
        );
        check(
            "GET /lamp/controller/v1/lamp-1/deploymentBase/7/feedback",
            "405 Some(Hawkbit) Some(Report): this path exists, but not with GET; it takes POST",
        );
        check(
            "PUT /v1/products/lamp/updates/1.0.0",
            "405 Some(Operator) Some(Publish): this path exists, but not with PUT; it takes GET and PATCH and DELETE",
        );
    }

    #[test]
    fn an_unknown_path_belongs_to_the_interface_above_it() {
        check("GET /lamp/controller/v1/lamp-1/none", "404 Some(Hawkbit) Some(Check): there is nothing at this path");
        check("POST /kpc/kp1/lamp/cmx_ota/t", "404 Some(Kaa) Some(Check): there is nothing at this path");
        check("GET /v1/products/lamp/none", "404 Some(Operator) Some(Publish): there is nothing at this path");
        check("GET /v1/none", "404 None None: there is nothing at this path");
        check("GET ", "404 None None: there is nothing at this path");
    }

    #[test]
    fn no_two_routes_of_one_method_can_have_the_same_path() {
        for (number, a) in ROUTES.iter().enumerate() {
            for b in &ROUTES[..number] {
                let (a_segments, b_segments) = (a.template.split('/'), b.template.split('/'));
                let is_apart = a_segments.clone().count() != b_segments.clone().count()
                    || a_segments.zip(b_segments).any(|(a, b)| !is_match(a, b) && !is_match(b, a));
                assert!(is_apart || a.method != b.method, "{} and {}", a.template, b.template);
            }
        }
    }

    #[test]
    fn a_path_is_built_from_the_template_and_found_again() {
        let parameters = [("product", "lamp"), ("version", "1.0.0+a/b")];
        let path = PublishRoute::ShowUpdate.route().path(&parameters);
        assert_eq!(path, "/v1/products/lamp/updates/1.0.0%2Ba%2Fb");
        for route in ROUTES {
            let names = route.parameters().map(|name| (name, "x"));
            let path = route.path(&names.collect::<Vec<_>>());
            assert_eq!(find(route.method, &path).map(|found| found.route), Ok(*route), "{path}");
        }
    }

    #[test]
    fn operators_have_everything_below_their_paths() {
        for (path, expected) in [
            ("/v1/products/", true),
            ("/v1/products/lamp/none", true),
            ("/otao/api/v1/applications/lamp", true),
            ("/v1/products", false),
            ("/v1/check", false),
            ("/lamp/controller/v1/lamp-1", false),
        ] {
            assert_eq!(is_for_operators(path), expected, "{path}");
        }
    }
}
