// Points Swagger UI at the schema that the page names.
const place = document.getElementById("docs");
SwaggerUIBundle({ url: place.dataset.schema, domNode: place, deepLinking: true, tryItOutEnabled: true });
