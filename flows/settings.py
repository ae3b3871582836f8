"""Settings of an installation, read once from the environment (`TIDEWATCH_...`): where things are kept, and nothing about the data.

The environment is read when `Settings()` is made, never at import. An unknown TIDEWATCH_ variable is refused by its name.
"""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from telemetry.errors import TidewatchError

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where `infra` lies: beside the packages."""


class SettingsError(TidewatchError):
    """A setting of the environment is unknown or cannot be used."""


class Settings(BaseSettings):
    """Where an installation keeps its things. Every field is an environment variable: `home` is TIDEWATCH_HOME."""

    model_config = SettingsConfigDict(env_prefix="TIDEWATCH_", frozen=True, extra="ignore")

    home: Path = Path(".tidewatch")
    """Folder of everything that a run writes."""
    lake: str | None = None
    """Root of the Delta tables: a folder or an object store's URL; `<home>/lake` by default."""
    releases: Path | None = None
    """Folder of the releases; `<home>/releases` by default."""
    infra: Path = CHECKOUT / "infra"
    """Folder of contracts and deployments."""
    pages_url: str | None = None
    """Address under which `<home>/runs` is served, for links in the Prefect UI."""
    keep_runs: Annotated[int, Field(ge=1)] = 200
    """How many run folders of each flow are kept; older ones are removed."""
    tracking: Annotated[SecretStr | None, Field(validation_alias=AliasChoices("TIDEWATCH_TRACKING", "MLFLOW_TRACKING_URI"))] = None
    """Where MLflow keeps the records of trainings: an address or a file, which may hold credentials. None: there are no records."""

    @model_validator(mode="before")
    @classmethod
    def _no_stranger(cls, values: dict[str, object]) -> dict[str, object]:
        allowed = {f"TIDEWATCH_{name.upper()}" for name in cls.model_fields} | {"TIDEWATCH_DATA"}
        strangers = sorted(name for name in os.environ if name.startswith("TIDEWATCH_") and name not in allowed)
        if strangers:
            known = ", ".join(sorted(allowed))
            raise SettingsError(f"Unknown setting {', '.join(strangers)} in the environment.", hint=f"known are {known}.")
        return values

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        object.__setattr__(self, "home", self.home.expanduser().resolve())
        return self

    @property
    def lake_root(self) -> str:
        return self.lake or str(self.home / "lake")

    @property
    def releases_folder(self) -> Path:
        return (self.releases or self.home / "releases").resolve()

    @property
    def runs_folder(self) -> Path:
        return self.home / "runs"

    def contract_path(self, contract: str) -> Path:
        """The file of a contract given by path, or by the name of one that ships (`fleet`)."""
        shipped = self.infra / "contracts" / f"{contract}.toml"
        return shipped if shipped.is_file() and "/" not in contract else Path(contract)
