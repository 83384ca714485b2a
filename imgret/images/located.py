"""Located: an image found again by its id and the place of its file, also inside an archive."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from imgret.errors import ImgretError
from imgret.images.archives import add_archive
from imgret.images.image_file import Box, ImageFile
from imgret.images.listing import Listing
from imgret.places import is_archive


class Located:
    """Images of a collection by id and path. Each archive is listed once."""

    def __init__(self) -> None:
        self._members: dict[str, dict[str, ImageFile]] = {}

    def file(self, path: str, image_id: str, box: Box | None) -> ImageFile | None:
        """The image at a path; a member of an archive by the end of its id, None if the archive lacks it."""
        archive = Path(path).name
        marker = f"{archive}/"
        if not is_archive(archive) or marker not in image_id:
            return ImageFile(image_id, path, "", 0, 0, box)
        member = image_id.split(marker, 1)[1]
        if box is not None:
            member = member.rpartition("#")[0]
        found = self._listed(path).get(member)
        return None if found is None else replace(found, id=image_id, box=box)

    def _listed(self, archive: str) -> dict[str, ImageFile]:
        """Every member of an archive by its name in it; nothing for one that cannot be read."""
        if archive not in self._members:
            listing = Listing()
            with suppress(ImgretError):  # a picture less; the page says so
                add_archive(listing, archive, "", "")
            self._members[archive] = {image.id[1:]: image for image in listing.images}
        return self._members[archive]
