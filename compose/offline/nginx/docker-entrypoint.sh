#!/bin/sh
# Fills in the templates as the official image does, and becomes nginx. Understands NGINX_ENVSUBST_TEMPLATE_DIR,
# NGINX_ENVSUBST_TEMPLATE_SUFFIX, NGINX_ENVSUBST_OUTPUT_DIR and NGINX_ENVSUBST_FILTER.
set -eu

fill_in() {
    templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
    suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
    output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
    # Only names that are set and wanted: nginx has variables of its own.
    names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' | grep -E "${NGINX_ENVSUBST_FILTER:-}" | sed 's/.*/${&}/' | tr '\n' ' ')
    find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
        name=${template#"$templates"/}
        mkdir -p "$output/$(dirname "$name")"
        envsubst "$names" <"$template" >"$output/${name%"$suffix"}"
    done
}

case ${1:-} in nginx | nginx-debug) fill_in ;; esac
exec "$@"
