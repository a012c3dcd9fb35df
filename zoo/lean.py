"""Lightning without libraries that only some metrics of torchmetrics use: a third of a start is theirs.

Lightning imports torchmetrics, and that, where they are installed, torchvision, transformers, scipy and
matplotlib, for metrics of pictures and texts and for plots that nothing here has.
"""

import re
import sys

OPTIONAL = frozenset({"matplotlib", "scipy", "torchvision", "transformers"})


def import_metrics() -> None:
    """Imports torchmetrics as it imports itself where none of ``OPTIONAL`` is installed.

    For the command, whose process ends with it: metrics that need one of them cannot be had from torchmetrics
    afterwards. The libraries themselves can be imported as ever. Nothing happens if it is imported already.
    """
    if "torchmetrics" in sys.modules:
        return
    from lightning_utilities.core import imports

    installed, package_available = imports.RequirementCache.__bool__, imports.package_available

    def wanted(requirement: imports.RequirementCache) -> bool:
        name = re.match(r"[\w.-]*", requirement.requirement or "")
        return (name is None or name.group() not in OPTIONAL) and installed(requirement)

    def package_wanted(name: str) -> bool:
        return name not in OPTIONAL and package_available(name)

    imports.RequirementCache.__bool__ = wanted  # type: ignore[assignment, method-assign]
    imports.package_available = package_wanted  # type: ignore[assignment]
    try:
        import torchmetrics  # noqa: F401
    finally:
        imports.RequirementCache.__bool__ = installed  # type: ignore[method-assign]
        imports.package_available = package_available
