//! `deploy/kubernetes`: what refers to what, and the node answers where the probes ask.

use std::{collections::BTreeMap, fs, time::Duration};

use gorani_tests::node::{Node, Settings};
use serde_json::{Value, json};

use super::{check, list, longest_drain, path, read, text, yaml};

/// Kinds, with the version of the API that has them in every Kubernetes of today.
const KINDS: [(&str, &str); 9] = [
    ("ConfigMap", "v1"),
    ("Deployment", "apps/v1"),
    ("HTTPRoute", "gateway.networking.k8s.io/v1"),
    ("HorizontalPodAutoscaler", "autoscaling/v2"),
    ("Ingress", "networking.k8s.io/v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("Secret", "v1"),
    ("Service", "v1"),
];

/// The one object that is not of the nodes.
const REDIS_POLICY: &str = "networkpolicy.redis.yaml";

/// Where the pods are described in the Deployment.
const POD: &str = "/spec/template/spec";

/// All objects by their kind; each kind is there once.
fn objects() -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(path("kubernetes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "kustomization.yaml" && name != REDIS_POLICY {
            let object = yaml(&format!("kubernetes/{name}"));
            assert!(
                objects.insert(text(&object, "/kind").to_owned(), object).is_none(),
                "{name}: a second one"
            );
        }
    }
    objects
}

fn container(deployment: &Value) -> &Value {
    let containers = list(deployment, &format!("{POD}/containers"));
    assert_eq!(containers.len(), 1);
    &containers[0]
}

#[test]
fn every_object_has_a_known_kind_and_version_and_the_same_name_and_label() {
    let objects = objects();
    let kinds: Vec<_> =
        objects.iter().map(|(kind, object)| (kind.as_str(), text(object, "/apiVersion"))).collect();
    assert_eq!(kinds, KINDS);
    for (kind, object) in &objects {
        // The example's is none.
        assert!(kind == "Secret" || text(object, "/metadata/name") == "gorani", "{kind}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "gorani", "{kind}");
    }
}

#[test]
fn the_kustomization_names_every_file_but_the_secret_and_the_ways_in() {
    let kustomization = yaml("kubernetes/kustomization.yaml");
    let mut named: Vec<_> =
        list(&kustomization, "/resources").iter().map(|name| name.as_str().unwrap()).collect();
    named.extend(["kustomization.yaml", "secret.example.yaml", "ingress.yaml", "httproute.yaml"]);
    named.sort_unstable();
    let files = std::fs::read_dir(path("kubernetes")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort_unstable();
    assert_eq!(named, files);
    let deployment = &objects()["Deployment"];
    assert_eq!(text(&kustomization, "/images/0/name"), text(container(deployment), "/image"));
}

#[test]
fn all_selectors_choose_the_pods_of_the_deployment() {
    let objects = objects();
    let deployment = &objects["Deployment"];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, json!({"app.kubernetes.io/name": "gorani"}));
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(objects["Service"]["spec"]["selector"], *labels);
    assert_eq!(objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], *labels);
    let spread = &list(deployment, &format!("{POD}/topologySpreadConstraints"))[0];
    assert_eq!(spread["labelSelector"]["matchLabels"], *labels);
}

#[test]
fn ports_lead_from_the_ingress_to_where_the_node_listens() {
    let objects = objects();
    let port = &list(container(&objects["Deployment"]), "/ports")[0];
    let service = &list(&objects["Service"], "/spec/ports")[0];
    assert_eq!(service["targetPort"], port["name"]);
    for way in list(&objects["Ingress"], "/spec/rules/0/http/paths") {
        assert_eq!(text(way, "/backend/service/name"), text(&objects["Service"], "/metadata/name"));
        assert_eq!(way["backend"]["service"]["port"]["name"], service["name"]);
    }
    for backend in list(&objects["HTTPRoute"], "/spec/rules/0/backendRefs") {
        assert_eq!(backend["name"], objects["Service"]["metadata"]["name"]);
        assert_eq!(backend["port"], service["port"]);
    }
    let listens = format!("address = \"0.0.0.0:{}\"", port["containerPort"]);
    assert!(text(&objects["ConfigMap"], "/data/gorani.toml").contains(&listens));
    let scraped = &objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(scraped.as_str().unwrap(), port["containerPort"].to_string());
}

#[test]
fn the_node_answers_where_the_probes_ask() {
    let objects = objects();
    let node = Node::start(Settings::open());
    let container = container(&objects["Deployment"]);
    for (probe, asks) in [("startupProbe", "live"), ("livenessProbe", "live"), ("readinessProbe", "ready")] {
        let get = &container[probe]["httpGet"];
        assert_eq!(text(get, "/path"), format!("/health/{asks}"), "{probe}");
        assert_eq!(get["port"], container["ports"][0]["name"]);
        assert_eq!(node.api().get(text(get, "/path")).0, 200);
    }
    let annotations = &objects["Deployment"]["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(node.api().get(annotations["prometheus.io/path"].as_str().unwrap()).0, 200);
}

#[test]
fn a_pod_has_time_to_drain() {
    let objects = objects();
    let deployment = &objects["Deployment"];
    let seconds = deployment.pointer(&format!("{POD}/terminationGracePeriodSeconds")).and_then(Value::as_u64);
    let settings = text(&objects["ConfigMap"], "/data/gorani.toml");
    let (_, drain) = settings.split_once("\n[drain]\ngrace = \"").unwrap();
    let grace = humantime::parse_duration(drain.split('"').next().unwrap()).unwrap();
    // Readiness is looked at every 2 s, and two answers must be no.
    assert!(grace >= Duration::from_secs(5), "{grace:?}");
    assert!(Duration::from_secs(seconds.unwrap()) > grace + longest_drain());
    // The image needs no shell and no program but its own.
    let container = container(deployment);
    for hook in ["/lifecycle", "/startupProbe/exec", "/livenessProbe/exec", "/readinessProbe/exec"] {
        assert_eq!(container.pointer(hook), None, "{hook}");
    }
}

#[test]
fn the_settings_with_the_variables_of_the_pod_are_good() {
    let objects = objects();
    let (container, secret) = (container(&objects["Deployment"]), &objects["Secret"]);
    let variables: Vec<(&str, &str)> = list(container, "/env")
        .iter()
        .filter(|variable| variable.pointer("/valueFrom/secretKeyRef").is_some())
        .map(|variable| {
            assert_eq!(text(variable, "/valueFrom/secretKeyRef/name"), "gorani");
            let key = text(variable, "/valueFrom/secretKeyRef/key");
            // The example gives away no value that somebody could leave as it is.
            assert_eq!(secret["stringData"][key], "", "{key}");
            (text(variable, "/name"), "a-secret-of-at-least-thirty-two-bytes")
        })
        .collect();
    assert_eq!(variables.len(), secret["stringData"].as_object().unwrap().len());
    check(text(&objects["ConfigMap"], "/data/gorani.toml"), &variables).unwrap();
}

/// `kubectl apply` of the directory takes every file. A name that no object can have is refused before a Secret that is there is overwritten.
#[test]
fn the_example_of_the_secret_cannot_be_applied_as_it_is() {
    let name = text(&objects()["Secret"], "/metadata/name").to_owned();
    let may_be_a_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    assert!(!name.chars().all(may_be_a_name), "{name}");
    let keys = objects()["Secret"]["stringData"].as_object().unwrap().clone();
    let deploys = fs::read_to_string(path("README.md")).unwrap();
    assert!(deploys.contains("kubectl create secret generic gorani "));
    assert!(keys.keys().all(|key| deploys.contains(&format!("--from-literal={key}="))), "{keys:?}");
}

#[test]
fn a_node_has_as_many_workers_as_cpus_are_asked_for() {
    let objects = objects();
    let container = container(&objects["Deployment"]);
    let workers = list(container, "/env").iter().find(|variable| variable["name"] == "GORANI__HTTP__WORKERS");
    assert_eq!(
        workers.unwrap()["valueFrom"],
        json!({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1"}})
    );
    assert!(container["resources"]["requests"]["cpu"].is_string());
    // What Kubernetes puts there: whole CPUs, rounded up.
    check("", &[("GORANI__HTTP__WORKERS", "1")]).unwrap();
}

#[test]
fn the_settings_file_is_mounted_where_the_node_looks_for_it() {
    let objects = objects();
    let (deployment, map) = (&objects["Deployment"], &objects["ConfigMap"]);
    let container = container(deployment);
    let mount = &list(container, "/volumeMounts")[0];
    let volume = &list(deployment, &format!("{POD}/volumes"))[0];
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);
    let file = map["data"].as_object().unwrap().keys().next().unwrap();
    let looks = list(container, "/env").iter().find(|variable| variable["name"] == "GORANI_CONFIG").unwrap();
    assert_eq!(text(looks, "/value"), format!("{}/{file}", text(mount, "/mountPath")));
}

#[test]
fn nodes_are_scaled_and_disturbed_one_at_a_time() {
    let objects = objects();
    let scaler = &objects["HorizontalPodAutoscaler"];
    for key in ["apiVersion", "kind"] {
        assert_eq!(scaler["spec"]["scaleTargetRef"][key], objects["Deployment"][key]);
    }
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], objects["Deployment"]["metadata"]["name"]);
    // A number here would undo what the scaler decided whenever the file is applied.
    assert!(objects["Deployment"]["spec"].get("replicas").is_none());
    let least = scaler["spec"]["minReplicas"].as_u64().unwrap();
    assert!(objects["PodDisruptionBudget"]["spec"]["maxUnavailable"].as_u64().unwrap() < least);
    assert_eq!(objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
}

#[test]
fn a_pod_may_do_nothing_that_a_node_does_not_need_and_is_the_user_of_the_image() {
    let objects = objects();
    let deployment = &objects["Deployment"];
    let pod = deployment.pointer(&format!("{POD}/securityContext")).unwrap();
    assert_eq!(pod["runAsNonRoot"], true);
    let user = format!("\nUSER {}:{}\n", pod["runAsUser"], pod["runAsGroup"]);
    assert!(read("Dockerfile").contains(&user), "{user}");
    let rights = &container(deployment)["securityContext"];
    assert_eq!(
        *rights,
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
    );
}

#[test]
fn only_who_needs_the_nodes_reaches_them_and_only_the_nodes_reach_redis() {
    let objects = objects();
    let pods = &objects["Deployment"]["spec"]["template"]["metadata"]["labels"];
    let port = &list(container(&objects["Deployment"]), "/ports")[0]["name"];
    let policy = &objects["NetworkPolicy"]["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], *pods);
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    let ways = list(policy, "/ingress");
    for way in ways {
        assert_eq!(way["ports"], json!([{ "port": port }]));
        // An empty selector is everybody.
        let from = &list(way, "/from")[0];
        let selector = from.get("podSelector").or(from.get("namespaceSelector")).unwrap();
        assert!(!selector["matchLabels"].as_object().unwrap().is_empty(), "{way}");
    }
    assert!(
        ways.iter().any(|way| way["from"][0]["podSelector"]["matchLabels"] == *pods),
        "nodes forward to nodes"
    );

    let redis = yaml(&format!("kubernetes/{REDIS_POLICY}"));
    assert_eq!(text(&redis, "/kind"), "NetworkPolicy");
    let ways = list(&redis, "/spec/ingress");
    assert_eq!(ways[0]["from"], json!([{ "podSelector": { "matchLabels": pods } }]));
    assert_eq!(ways[0]["ports"], json!([{ "port": 6379 }]));
    assert_eq!(ways[1]["from"], json!([{ "podSelector": redis["spec"]["podSelector"] }]));
    assert_eq!(ways.len(), 2);
}
