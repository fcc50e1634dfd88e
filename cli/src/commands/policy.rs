//! `policy`: the named retry policies, and what any policy would do.
//!
//! Where a coordinator is named by `--address` or `REDRIVE_ADDRESS` it is asked. Otherwise the
//! answer is computed here, by the coordinator's own service with the presets that ship in this
//! binary: no coordinator has to run to look a policy up.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use redrive_coordinator::server::RetryPolicies;
use redrive_proto::v1::{
    self, preview_retry_policy_request::Policy,
    retry_policy_service_server::RetryPolicyService as _,
};
use tonic::Request;
use tonic_types::StatusExt as _;

use crate::{context::Context, files, policy_text, values};

const HELP: &str = "\
A coordinator that is named by --address or REDRIVE_ADDRESS is asked; otherwise
the answer is computed here, by the same code.";

/// The verbs of `policy`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the named policies
    List,
    /// Show a named policy; -o json prints what --policy-file reads
    Show(ShowArgs),
    /// Show when a policy retries and when it gives up
    Preview(PreviewArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The policy's name; see `redrive policy list`
    name: String,
}

const PREVIEW_HELP: &str = "\
BASE is the delay before jitter; MIN to MAX can be drawn; CUMULATIVE is the
latest that the next attempt can start, run times left out.

Examples:
  redrive policy preview recommended
  redrive policy preview recommended --class RATE_LIMITED --retry-after 30s
  redrive policy preview celery-production     # gives up after at most 31s
  redrive policy preview --file my-policy.json --attempts 50";

#[derive(Debug, Args)]
#[command(after_help = PREVIEW_HELP)]
struct PreviewArgs {
    #[command(flatten)]
    which: Which,
    /// What fails each time
    #[arg(long, value_parser = values::failure_class(), ignore_case = true,
          default_value = "INTERNAL", value_name = "CLASS")]
    class: v1::FailureClass,
    /// The error type that fails each time, for rules on types
    #[arg(
        long = "type",
        default_value = "",
        value_name = "TYPE",
        hide_default_value = true
    )]
    error_type: String,
    /// A Retry-After that comes with each failure
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    retry_after: Option<Duration>,
    /// How many attempts to show at most
    #[arg(long, default_value_t = 30, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    attempts: u32,
}

/// The policy; one of both.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The policy's name; see `redrive policy list`
    name: Option<String>,
    /// A policy of your own: proto3 JSON of a RetryPolicy; `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Who answers.
enum Source {
    /// The coordinator that was named.
    Asked(Box<redrive_client::Client>),
    /// This binary.
    Computed(RetryPolicies),
}

pub(crate) async fn run(context: &Context, args: PolicyArgs) -> anyhow::Result<ExitCode> {
    let source = if context.global.address.is_some() {
        Source::Asked(Box::new(context.client().await?))
    } else {
        Source::Computed(RetryPolicies::default())
    };
    match args.verb {
        Verb::List => {
            let policies = source.list().await?;
            let answer = v1::ListRetryPoliciesResponse { policies };
            context.out.list(&answer, &answer.policies, |style| {
                policy_text::list(style, &answer.policies)
            })?;
        }
        Verb::Show(args) => {
            // The policy itself, not the answer around it, so that it can be edited and given back.
            let policy = source.get(&args.name).await?;
            context
                .out
                .answer(&policy, |style| policy_text::policy(style, &policy))?;
        }
        Verb::Preview(args) => preview(context, &source, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn preview(context: &Context, source: &Source, args: PreviewArgs) -> anyhow::Result<()> {
    let policy = match (args.which.name, args.which.file) {
        (Some(name), _) => Policy::Name(name),
        (None, Some(path)) => Policy::Inline(files::read_policy(&path)?),
        (None, None) => Policy::Inline(v1::RetryPolicy::default()),
    };
    let request = v1::PreviewRetryPolicyRequest {
        policy: Some(policy.clone()),
        failure: Some(v1::Failure {
            failure_class: args.class.into(),
            r#type: args.error_type,
            ..Default::default()
        }),
        retry_after: args.retry_after.map(values::proto_duration),
        attempts_max: args.attempts,
    };
    let answer = source.preview(request).await?;
    let policy = match policy {
        Policy::Name(name) => source.get(&name).await?,
        Policy::Inline(policy) => policy,
    };
    context.out.list(&answer, &answer.steps, |style| {
        policy_text::preview(style, &answer, Some(&policy))
    })
}

impl Source {
    async fn list(&self) -> anyhow::Result<Vec<v1::RetryPolicy>> {
        match self {
            Self::Asked(client) => Ok(client.retry_policies().await?),
            Self::Computed(service) => {
                let request = Request::new(v1::ListRetryPoliciesRequest {});
                let answer = service.list_retry_policies(request).await;
                Ok(answer.map_err(told)?.into_inner().policies)
            }
        }
    }

    async fn get(&self, name: &str) -> anyhow::Result<v1::RetryPolicy> {
        match self {
            Self::Asked(client) => Ok(client.retry_policy(name).await?),
            Self::Computed(service) => {
                let request = Request::new(v1::GetRetryPolicyRequest {
                    name: name.to_owned(),
                });
                let answer = service.get_retry_policy(request).await;
                let policy = answer.map_err(told)?.into_inner().policy;
                Ok(policy.ok_or(redrive_client::Error::Incomplete { missing: "policy" })?)
            }
        }
    }

    async fn preview(
        &self,
        request: v1::PreviewRetryPolicyRequest,
    ) -> anyhow::Result<v1::PreviewRetryPolicyResponse> {
        match self {
            Self::Asked(client) => Ok(client.preview_retry_policy(request).await?),
            Self::Computed(service) => {
                let answer = service.preview_retry_policy(Request::new(request)).await;
                Ok(answer.map_err(told)?.into_inner())
            }
        }
    }
}

/// A refusal of this binary's own service, told as one of a coordinator would be.
fn told(status: tonic::Status) -> anyhow::Error {
    let details = status.get_error_details();
    redrive_client::Error::from(v1::Refusal {
        code: status.code().into(),
        reason: details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default(),
        message: status.message().to_owned(),
        ..Default::default()
    })
    .into()
}
