//! One demand on one resource, with upstream's texts.

use knarr_api::quantity::Quantity;

type Verdict = Result<(), String>;

/// At least so much is requested, and allowed.
pub(super) fn minimum(
    scope: &str,
    resource: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Verdict {
    let head = format!("minimum {resource} usage per {scope} is {enforced}");
    match (request, limit) {
        (None, _) => Err(format!("{head}.  No request is specified")),
        (Some(request), _) if request < enforced => Err(format!("{head}, but request is {request}")),
        (_, Some(limit)) if limit < enforced => Err(format!("{head}, but limit is {limit}")),
        _ => Ok(()),
    }
}

/// At most so much is allowed, and requested.
pub(super) fn maximum(
    scope: &str,
    resource: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Verdict {
    let head = format!("maximum {resource} usage per {scope} is {enforced}");
    match (limit, request) {
        (None, _) => Err(format!("{head}.  No limit is specified")),
        (Some(limit), _) if limit > enforced => Err(format!("{head}, but limit is {limit}")),
        (_, Some(request)) if request > enforced => Err(format!("{head}, but request is {request}")),
        _ => Ok(()),
    }
}

/// At most so much is requested.
pub(super) fn maximum_request(scope: &str, resource: &str, enforced: Quantity, request: Option<Quantity>) -> Verdict {
    let head = format!("maximum {resource} usage per {scope} is {enforced}");
    match request {
        None => Err(format!("{head}.  No request is specified")),
        Some(request) if request > enforced => Err(format!("{head}, but request is {request}")),
        Some(_) => Ok(()),
    }
}

/// The limit is at most so many times the request.
pub(super) fn ratio(
    scope: &str,
    resource: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Verdict {
    let head = format!("{resource} max limit to request ratio per {scope} is {enforced}");
    let given = |amount: Option<Quantity>| amount.filter(|amount| !amount.is_zero());
    let Some(request) = given(request) else {
        return Err(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = given(limit) else { return Err(format!("{head}, but no limit is specified or limit is 0")) };
    let observed = limit.as_f64() / request.as_f64();
    if observed > enforced.as_f64() {
        return Err(format!("{head}, but provided ratio is {observed:.6}"));
    }
    Ok(())
}
