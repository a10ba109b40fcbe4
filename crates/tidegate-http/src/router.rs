//! Routing: finds the route of a request in the route table, and answers an error in the format of its interface.

use lambda_http::{Body, Request, RequestExt as _, Response};
use tidegate_wire::route::{self, Found, Interface, NoRoute};
use tidegate_wire::{ApiError, ErrorCode};

use crate::edge::error_response;
use crate::{exosite, hawkbit, kaa};

/// The path of a request, percent-decoded, as API Gateway passes it on. A request from elsewhere has only its URI.
#[must_use]
pub fn path_of(request: &Request) -> &str {
    match request.raw_http_path() {
        "" => request.uri().path(),
        path => path,
    }
}

/// Finds the route of a request.
///
/// # Errors
/// [`NoRoute`].
pub fn find(request: &Request) -> Result<Found<'_>, NoRoute> {
    route::find(request.method().as_str(), path_of(request))
}

/// Answers a request that has no route.
#[must_use]
pub fn answer_no_route(request: &Request, no_route: &NoRoute) -> Response<Body> {
    refuse(no_route.interface(), request, &no_route.error(request.method().as_str()))
}

/// Answers a request whose route belongs to another function.
pub(crate) fn answer_other_function(request: &Request, found: &Found<'_>) -> Response<Body> {
    let error = ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path");
    refuse(Some(found.route.interface()), request, &error)
}

/// An error in the format of an interface.
fn refuse(interface: Option<Interface>, request: &Request, error: &ApiError) -> Response<Body> {
    match interface {
        Some(Interface::Hawkbit) => hawkbit::wire::refuse(request, error),
        Some(Interface::Exosite) => exosite::wire::refuse(error),
        Some(Interface::Kaa) => kaa::wire::refuse(error),
        Some(Interface::Native | Interface::Ioto | Interface::Operator | Interface::Software) | None => {
            error_response(error)
        }
    }
}
