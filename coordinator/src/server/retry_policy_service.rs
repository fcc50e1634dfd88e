//! RetryPolicyService: the named policies, and what any policy would do.
//!
//! Needs no engine: the policies ship with the program, and the preview walks the judge itself. The
//! command line serves itself with it where no coordinator runs.

use std::sync::Arc;

use redrive_proto::v1 as pb;
use redrive_proto::v1::retry_policy_service_server::RetryPolicyService;
use tonic::{Request, Response, Status};

use super::convert::At;
use super::convert::failure::optional_failure;
use super::convert::field::{count, duration, optional_ms, quoted};
use super::convert::policy::{known, policy};
use super::convert::policy_view::policy_view;
use super::status::{Refused, answer};
use crate::engine::limits;
use crate::engine::retry::Policy;
use crate::engine::retry::presets;
use crate::engine::retry::preview::{PREVIEW_ATTEMPTS_MAX, Preview, Step, preview};

/// Attempts that a preview shows where it names no number.
const PREVIEW_ATTEMPTS_DEFAULT: u32 = 30;
/// The policy of a coordinator that was not told otherwise.
const DEFAULT_POLICY: &str = "recommended";

/// RetryPolicyService, with the name of the policy of tasks and queues that name none.
#[derive(Clone, Debug)]
pub struct RetryPolicies {
    default_policy: Arc<str>,
}

impl Default for RetryPolicies {
    fn default() -> Self {
        Self::new(DEFAULT_POLICY.into())
    }
}

impl RetryPolicies {
    /// A service of a coordinator whose default policy has this name.
    #[must_use]
    pub const fn new(default_policy: Arc<str>) -> Self {
        Self { default_policy }
    }

    fn preview(
        &self,
        request: pb::PreviewRetryPolicyRequest,
    ) -> Result<pb::PreviewRetryPolicyResponse, Refused> {
        use pb::preview_retry_policy_request::Policy as Given;
        let root = At::Root;
        let chosen = match request.policy {
            None => named(&self.default_policy)?,
            Some(Given::Name(name)) => named(&name)?,
            Some(Given::Inline(given)) => Arc::new(policy(given, root.field("inline"))?),
        };
        let failure = optional_failure(request.failure, root.field("failure"))?;
        let at = root.field("retry_after");
        let retry_after_ms = optional_ms(request.retry_after.as_ref(), limits::DELAY_MS_MAX, at)?;
        let at = root.field("attempts_max");
        let attempts_max = count(
            request.attempts_max,
            PREVIEW_ATTEMPTS_DEFAULT,
            PREVIEW_ATTEMPTS_MAX,
            at,
        )?;
        Ok(preview_view(&preview(
            &chosen,
            &failure,
            retry_after_ms,
            attempts_max,
        )))
    }
}

fn named(name: &str) -> Result<Arc<Policy>, Refused> {
    let root = At::Root;
    if name.is_empty() {
        return Err(root
            .field("name")
            .refuse(format_args!("is required: {}", known()))
            .into());
    }
    presets::named(name).ok_or_else(|| Refused::PolicyNotFound(quoted(name)))
}

fn preview_view(preview: &Preview) -> pb::PreviewRetryPolicyResponse {
    let give_up = preview.give_up.as_ref();
    pb::PreviewRetryPolicyResponse {
        steps: preview.steps.iter().map(step_view).collect(),
        give_up_min: give_up.map(|end| duration(end.min_ms)),
        give_up_mean: give_up.map(|end| duration(end.mean_ms)),
        give_up_max: give_up.map(|end| duration(end.max_ms)),
        ends_as: preview
            .ends_as
            .map(|end| end.name().to_owned())
            .unwrap_or_default(),
    }
}

fn step_view(step: &Step) -> pb::PreviewStep {
    let wait = step.wait.as_ref();
    pb::PreviewStep {
        attempt: step.attempt,
        rule: step.rule.as_deref().unwrap_or_default().to_owned(),
        base: wait.map(|wait| duration(wait.base_ms)),
        min: wait.map(|wait| duration(wait.min_ms)),
        mean: wait.map(|wait| duration(wait.mean_ms)),
        max: wait.map(|wait| duration(wait.max_ms)),
    }
}

#[tonic::async_trait]
impl RetryPolicyService for RetryPolicies {
    async fn get_retry_policy(
        &self,
        request: Request<pb::GetRetryPolicyRequest>,
    ) -> Result<Response<pb::GetRetryPolicyResponse>, Status> {
        let found = named(&request.into_inner().name);
        let shown = found.map(|policy| pb::GetRetryPolicyResponse {
            policy: Some(policy_view(&policy)),
        });
        answer("GetRetryPolicy", shown)
    }

    async fn list_retry_policies(
        &self,
        _request: Request<pb::ListRetryPoliciesRequest>,
    ) -> Result<Response<pb::ListRetryPoliciesResponse>, Status> {
        let mut all = presets::all();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let policies = all.iter().map(|policy| policy_view(policy)).collect();
        Ok(Response::new(pb::ListRetryPoliciesResponse { policies }))
    }

    async fn preview_retry_policy(
        &self,
        request: Request<pb::PreviewRetryPolicyRequest>,
    ) -> Result<Response<pb::PreviewRetryPolicyResponse>, Status> {
        answer("PreviewRetryPolicy", self.preview(request.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use pb::preview_retry_policy_request::Policy as Given;
    use tonic::Code;

    use super::*;

    async fn preview_of(
        request: pb::PreviewRetryPolicyRequest,
    ) -> Result<pb::PreviewRetryPolicyResponse, Status> {
        let service = RetryPolicies::default();
        Ok(service
            .preview_retry_policy(Request::new(request))
            .await?
            .into_inner())
    }

    #[tokio::test]
    async fn policies_are_listed_by_name_and_each_can_be_asked_for() {
        let service = RetryPolicies::default();
        let listed = service.list_retry_policies(Request::new(pb::ListRetryPoliciesRequest {}));
        let policies = listed.await.unwrap().into_inner().policies;
        assert!(policies.iter().any(|policy| policy.name == "recommended"));
        assert!(policies.is_sorted_by(|one, other| one.name < other.name));
        for policy in policies {
            let request = pb::GetRetryPolicyRequest {
                name: policy.name.clone(),
            };
            let got = service
                .get_retry_policy(Request::new(request))
                .await
                .unwrap();
            assert_eq!(got.into_inner().policy, Some(policy));
        }
    }

    #[tokio::test]
    async fn an_unknown_policy_is_answered_with_the_known_ones() {
        let name = "celery".to_owned();
        let request = Request::new(pb::GetRetryPolicyRequest { name });
        let status = RetryPolicies::default()
            .get_retry_policy(request)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(
            status.message().contains("\"celery\" is not known"),
            "{}",
            status.message()
        );
        assert!(
            status.message().contains("celery-default"),
            "{}",
            status.message()
        );
    }

    #[tokio::test]
    async fn a_preview_of_nothing_in_particular_is_that_of_the_default() {
        let shown = preview_of(pb::PreviewRetryPolicyRequest::default())
            .await
            .unwrap();
        let name = "recommended".to_owned();
        let named = pb::PreviewRetryPolicyRequest {
            policy: Some(Given::Name(name)),
            ..Default::default()
        };
        assert_eq!(preview_of(named).await.unwrap(), shown);
        assert!(!shown.steps.is_empty());
        assert_eq!(shown.steps[0].attempt, 1);
    }

    #[tokio::test]
    async fn a_preview_of_a_policy_of_ones_own_names_what_is_wrong_with_it() {
        let rules = vec![pb::RetryRule::default()];
        let inline = pb::RetryPolicy {
            rules,
            ..Default::default()
        };
        let policy = Some(Given::Inline(inline));
        let request = pb::PreviewRetryPolicyRequest {
            policy,
            ..Default::default()
        };
        let status = preview_of(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().starts_with("inline.rules[0].id"),
            "{}",
            status.message()
        );
        let request = pb::PreviewRetryPolicyRequest {
            attempts_max: 1001,
            ..Default::default()
        };
        let status = preview_of(request).await.unwrap_err();
        assert_eq!(
            status.message(),
            "attempts_max is 1001, at most 1000 is allowed"
        );
    }
}
