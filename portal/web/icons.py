"""The portal's icons: outlines on a 24 by 24 grid, drawn for it."""

from __future__ import annotations

ICONS: dict[str, str] = {
    "overview": '<path d="M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z"/>',
    "stack": '<path d="m12 3 9 5-9 5-9-5zM3 12.500l9 5 9-5M3 17l9 5 9-5"/>',
    "sets": '<path d="M4 7h16v12.500a1.500 1.500 0 0 1-1.500 1.500h-13A1.500 1.500 0 0 1 4 19.500zM3 3h18v4H3zM9.500 11.500h5"/>',
    "operations": '<path d="M3 12h4l3 8 4-16 3 8h4"/>',
    "help": '<circle cx="12" cy="12" r="9"/><path d="M9.300 9.300a2.800 2.800 0 1 1 4 2.600c-.9.5-1.300 1-1.300 2"/>'
    '<path d="M12 17v.01"/>',
    "good": '<circle cx="12" cy="12" r="9"/><path d="m8 12.300 2.700 2.700L16 9.500"/>',
    "busy": '<path d="M21 12a9 9 0 1 1-6.200-8.560"/>',
    "warn": '<path d="M12 3.500 22 20.500H2zM12 10v4.500M12 17.500v.01"/>',
    "bad": '<circle cx="12" cy="12" r="9"/><path d="m9 9 6 6M15 9l-6 6"/>',
    "idle": '<circle cx="12" cy="12" r="9"/><path d="M8.500 12h7"/>',
    "stop": '<rect x="6" y="6" width="12" height="12" rx="1.500"/>',
    "start": '<path d="M7 4.500v15l12-7.500z"/>',
    "restart": '<path d="M20 5v5h-5M4 19v-5h5"/><path d="M5.600 9a7.500 7.500 0 0 1 12.800-2L20 10M4 14l1.600 3a7.500 7.500 0 0 0 12.800-2"/>',
    "clock": '<circle cx="12" cy="12" r="9"/><path d="M12 7v5.500l3.500 2"/>',
    "shield": '<path d="M12 3 4.500 6v5.500c0 4.600 3.200 7.800 7.500 9.500 4.300-1.700 7.500-4.900 7.500-9.500V6z"/><path d="m8.500 12 2.500 2.500 4.500-5"/>',
    "undo": '<path d="M8.500 14.500 4 10l4.500-4.500"/><path d="M4 10h10.500a5.500 5.500 0 0 1 0 11H11"/>',
    "log": '<path d="M5 5h14M5 10h14M5 15h9M5 20h6"/>',
    "download": '<path d="M12 4v11M7.500 11 12 15.500 16.500 11M4.500 20h15"/>',
    "search": '<circle cx="10.500" cy="10.500" r="6.500"/><path d="m15.500 15.500 5 5"/>',
    "leave": '<path d="M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9.500"/>',
    "sun": '<circle cx="12" cy="12" r="4"/>'
    '<path d="M12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400"/>',
    "moon": '<path d="M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z"/>',
    "screen": '<rect x="3" y="4" width="18" height="12" rx="1.500"/><path d="M9 20h6M12 16v4"/>',
    "arrow": '<path d="M5 12h14M13 6l6 6-6 6"/>',
}
