"""The Job for Kubernetes: which ends fail it, what it may do, and that its variables and folders are the image's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from container.supervisor import Limits
from container.variables import HANDED_ON, OWN
from utils import exit_codes

REPOSITORY = Path(__file__).resolve().parents[2]
JOB = yaml.safe_load((REPOSITORY / "conf/kubernetes/job.yaml").read_text("utf-8"))
POD = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def _action(code: int) -> str:
    """What Kubernetes does with a pod that ended so: the first rule that fits; counted where none does."""
    for rule in JOB["spec"]["podFailurePolicy"]["rules"]:
        exits = rule.get("onExitCodes")
        if (
            exits
            and exits["containerName"] == CONTAINER["name"]
            and (code in exits["values"]) == (exits["operator"] == "In")
        ):
            return rule["action"]
    return "Count"


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (exit_codes.FAULT, "Count"),
        (exit_codes.BAD_INPUT, "FailJob"),
        (exit_codes.LOCKED, "Count"),
        (exit_codes.STOPPED, "Ignore"),
        (exit_codes.OUT_OF_MEMORY, "FailJob"),
        (exit_codes.NO_NUMBERS, "FailJob"),
        (137, "Count"),
    ],
)
def test_ends_that_would_be_the_same_again_fail_the_job_and_75_is_not_counted(code, action):
    assert _action(code) == action


def test_job_is_one_that_kubernetes_takes():
    """Rules of podFailurePolicy: pods are never restarted in place, and no rule names 0 or a foreign container."""
    assert (JOB["apiVersion"], JOB["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", JOB["metadata"]["name"])
    assert POD["restartPolicy"] == "Never"
    for rule in JOB["spec"]["podFailurePolicy"]["rules"]:
        assert len({"onExitCodes", "onPodConditions"} & rule.keys()) == 1
        assert 0 not in rule.get("onExitCodes", {}).get("values", [])
    assert {"type": "DisruptionTarget", "status": "True"} in [
        condition for rule in JOB["spec"]["podFailurePolicy"]["rules"] for condition in rule.get("onPodConditions", [])
    ]


def test_pod_is_nobody_in_particular_and_may_write_into_its_volumes_alone():
    dockerfile = (REPOSITORY / "container/Dockerfile").read_text("utf-8")
    user, group = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE).groups()
    context = POD["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, int(user), int(group))
    assert context["fsGroup"] == int(group)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_every_mount_is_a_volume_and_the_image_s_folders_are_mounted():
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in CONTAINER["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    assert set(mounts) == {"/data", "/runs", "/tmp", "/dev/shm"}
    assert mounts["/data"]["readOnly"] is True
    assert not mounts["/runs"].get("readOnly")
    assert "persistentVolumeClaim" in volumes["runs"], "an emptyDir would lose the model with its pod"
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"


def test_pod_is_told_by_variables_of_the_entry_point_and_may_go_on():
    variables = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}
    assert set(variables) <= {*OWN, *HANDED_ON}
    assert variables["RESTORE_FROM"] == "latest"
    assert all(isinstance(value, str) for value in variables.values())
    assert POD["terminationGracePeriodSeconds"] > Limits().grace
