"""The portal's icons: outlines on a 24 by 24 grid, drawn for it."""

from __future__ import annotations

ICONS: dict[str, str] = {
    "overview": '<path d="M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z"/>',
    "stack": '<path d="m12 3 9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5"/>',
    "releases": '<path d="M11.5 3.5H20V12l-8.7 8.7-8.5-8.5z"/><circle cx="15.8" cy="7.7" r="1.3"/>',
    "sets": '<path d="M4 7h16v12.5a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 19.5zM3 3h18v4H3zM9.5 11.5h5"/>',
    "operations": '<path d="M3 12h4l3 8 4-16 3 8h4"/>',
    "plans": (
        '<rect x="4" y="5" width="16" height="15.5" rx="1.5"/>'
        '<path d="M4 10h16M8.5 3v4M15.5 3v4M8.5 14.5l2.3 2.3 4.2-4.3"/>'
    ),
    "pause": '<path d="M8.5 5v14M15.5 5v14"/>',
    "lifebuoy": (
        '<circle cx="12" cy="12" r="9"/><circle cx="12" cy="12" r="3.5"/>'
        '<path d="m5.6 5.6 3.9 3.9M14.5 14.5l3.9 3.9M18.4 5.6l-3.9 3.9M9.5 14.5l-3.9 3.9"/>'
    ),
    "alarms": '<path d="M6 16.5V11a6 6 0 0 1 12 0v5.5l2 2.5H4zM10 21.5h4"/>',
    "help": (
        '<circle cx="12" cy="12" r="9"/><path d="M9.3 9.3a2.8 2.8 0 1 1 4 2.6c-.9.5-1.3 1-1.3 2"/>'
        '<path d="M12 17v.01"/>'
    ),
    "good": '<circle cx="12" cy="12" r="9"/><path d="m8 12.3 2.7 2.7L16 9.5"/>',
    "busy": '<path d="M21 12a9 9 0 1 1-6.2-8.56"/>',
    "warn": '<path d="M12 3.5 22 20.5H2zM12 10v4.5M12 17.5v.01"/>',
    "bad": '<circle cx="12" cy="12" r="9"/><path d="m9 9 6 6M15 9l-6 6"/>',
    "idle": '<circle cx="12" cy="12" r="9"/><path d="M8.5 12h7"/>',
    "stop": '<rect x="6" y="6" width="12" height="12" rx="1.5"/>',
    "start": '<path d="M7 4.5v15l12-7.5z"/>',
    "restart": (
        '<path d="M20 5v5h-5M4 19v-5h5"/><path d="M5.6 9a7.5 7.5 0 0 1 12.8-2L20 10M4 14l1.6 3a7.5 7.5 0 0 0 12.8-2"/>'
    ),
    "doctor": (
        '<path d="M12 20.5S4 15.8 4 9.8A4.4 4.4 0 0 1 12 7a4.4 4.4 0 0 1 8 2.8c0 6-8 10.7-8 10.7z"/>'
        '<path d="M7 12h2.500l1.500-2.500 2 4.500 1.500-2H17"/>'
    ),
    "settings": (
        '<path d="M4 7h9M17 7h3M4 12h3M11 12h9M4 17h9M17 17h3"/>'
        '<circle cx="15" cy="7" r="2"/><circle cx="9" cy="12" r="2"/><circle cx="15" cy="17" r="2"/>'
    ),
    "clock": '<circle cx="12" cy="12" r="9"/><path d="M12 7v5.5l3.5 2"/>',
    "shield": (
        '<path d="M12 3 4.5 6v5.5c0 4.6 3.2 7.8 7.5 9.5 4.3-1.7 7.5-4.9 7.5-9.5V6z"/><path d="m8.5 12 2.5 2.5 4.5-5"/>'
    ),
    "undo": '<path d="M8.5 14.5 4 10l4.5-4.5"/><path d="M4 10h10.5a5.5 5.5 0 0 1 0 11H11"/>',
    "log": '<path d="M5 5h14M5 10h14M5 15h9M5 20h6"/>',
    "terminal": '<rect x="3" y="4" width="18" height="16" rx="1.5"/><path d="m7 9 3.500 3L7 15M12.500 15.500H17"/>',
    "download": '<path d="M12 4v11M7.5 11 12 15.5 16.5 11M4.5 20h15"/>',
    "search": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.5 15.5 5 5"/>',
    "leave": '<path d="M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9.5"/>',
    "sun": (
        '<circle cx="12" cy="12" r="4"/><path d="M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4'
        'M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4"/>'
    ),
    "moon": '<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z"/>',
    "screen": '<rect x="3" y="4" width="18" height="12" rx="1.5"/><path d="M9 20h6M12 16v4"/>',
    "disk": (
        '<path d="M4 6c0-1.7 3.600-3 8-3s8 1.300 8 3-3.600 3-8 3-8-1.300-8-3z"/>'
        '<path d="M4 6v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3"/>'
    ),
    "arrow": '<path d="M5 12h14M13 6l6 6-6 6"/>',
    "pin": '<path d="M9 3h6l-1 6 4 4H6l4-4zM12 13v8"/>',
    "trash": '<path d="M4 7h16M9.5 7V4h5v3M6.5 7l1 13.5h9l1-13.5M10.5 11v6M13.5 11v6"/>',
    "folder": '<path d="M3 18.5v-13h6l2 2.5h10v11.5H3z"/>',
    "file": '<path d="M6 3h8l4.5 4.5V21H6zM14 3v4.5h4.5"/>',
    "tick": '<path d="m6 12.5 4 4 8-9"/>',
    "cross": '<path d="m7 7 10 10M17 7 7 17"/>',
    "mark": '<path d="M12 5v9M12 18.5v.01"/>',
    "dash": '<path d="M7 12h10"/>',
}
